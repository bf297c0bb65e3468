/* Percent-encoding and forms. */
#include "http/form.h"
#include "unit/tap.h"

static struct buf out = BUF_INIT(200);

static void
test_encoding(void)
{
    buf_clear(&out);
    form_encode(&out, STR("AZaz09-._~"));
    CHECK_TEXT(buf_z(&out), "AZaz09-._~");
    buf_clear(&out);
    form_encode(&out, STR("a b+c&d=e/f?g#h%\"{}\0\xc3\xa4\x7f"));
    CHECK_TEXT(buf_z(&out), "a%20b%2Bc%26d%3De%2Ff%3Fg%23h%25%22%7B%7D%00%C3%A4%7F");
    buf_clear(&out);
    form_add(&out, "grant_type", STR("a:b"));
    form_add(&out, "x y", STR(""));
    form_add(&out, "z", STR("1&2"));
    CHECK_TEXT(buf_z(&out), "grant_type=a%3Ab&x%20y=&z=1%262");
}

int
main(void)
{
    test_encoding();
    buf_done(&out);
    return tap_done();
}
