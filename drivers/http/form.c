/* Percent-encoding and forms: see form.h. */
#include "http/form.h"

void
form_encode(struct buf *out, struct str value)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (letter || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~') {
            buf_addc(out, (char)c);
            continue;
        }
        buf_addc(out, '%');
        buf_addc(out, hex[c >> 4]);
        buf_addc(out, hex[c & 15]);
    }
}

void
form_add(struct buf *out, const char *name, struct str value)
{
    if (out->n > 0)
        buf_addc(out, '&');
    form_encode(out, str_of(name));
    buf_addc(out, '=');
    form_encode(out, value);
}
