/* Secrets are taken out of texts however they are written in them, and nothing else is. */
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "calls/redact.h"
#include "random.h"
#include "tap.h"

static const char SECRET[] = "p\"a/ss w\\ö+rd%1";

static const char *
redacted(const struct redactor *r, const char *const *more, const char *text)
{
    static struct buf out = BUF_INIT(1 << 20);
    buf_clear(&out);
    redact(r, more, str_of(text), &out);
    return out.failed ? "failed" : buf_z(&out);
}

/* What is written in so many ways is found in each. */
static void
test_ways(void)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", ""},
        {"nothing to see", "nothing to see"},
        {"p\"a/ss w\\ö+rd%1", "***"},
        {"<p\"a/ss w\\ö+rd%1p\"a/ss w\\ö+rd%1>", "<***>"},
        {"<p\"a/ss w\\ö+rd%1 p\"a/ss w\\ö+rd%1>", "<*** ***>"},
        {"q=p%22a%2Fss%20w%5C%C3%B6%2brd%251&x=%20", "q=***&x=%20"},
        {"q=p%22a/ss+w%5c%c3%b6%2Brd%251", "q=***"},
        {"{\"k\": \"p\\\"a/ss w\\\\ö+rd%1\"}", "{\"k\": \"***\"}"},
        {"{\"k\": \"p\\u0022a\\/ss\\u0020w\\\\\\u00f6+rd%1\\n\"}", "{\"k\": \"***\\n\"}"},
        {"p\"a/ss w\\ö+rd%.", "p\"a/ss w\\ö+rd%."},
        {"cut off: p\"a/ss w", "cut off: ***"},
        {"cut off: p%22a%2Fss%20", "cut off: ***"},
        {"cut off: p\"a", "cut off: p\"a"},
        {"[\"{\\\"k\\\": \\\"p\\\\\\\"a/ss w\\\\\\\\\\\\u00f6+rd%1\\\"}\"]",
         "[\"{\\\"k\\\": \\\"***\\\"}\"]"},
        {"{\"u\": \"?p=p%2522a%252Fss%2520w%255C%25C3%25B6%252Brd%25251\"}",
         "{\"u\": \"?p=***\"}"},
        {"{\"u\": \"?p=\\u007022a\\/ss%20w\"}", "{\"u\": \"?p=\\u007022a\\/ss%20w\"}"},
        {"Authorization: Bearer tokens-and-tokens", "Authorization: ***"},
        {"the token was tokens-and-tokens", "the token was ***"},
        {"Bearer of news", "Bearer of news"},
        {"token is abc", "token is ***"},
        {"\xF0\x9F\x98\x80 and \\ud83d\\ude00", "*** and ***"},
    };
    static const char *const more[] = {"abc", "\xF0\x9F\x98\x80", NULL};
    struct redactor *r = redactor_create();
    CHECK(redactor_add(r, SECRET) == 0 && redactor_add(r, "Bearer tokens-and-tokens") == 0 &&
          redactor_add(r, NULL) == 0 && redactor_add(r, "") == 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_TEXT(redacted(r, more, cases[i].text), cases[i].want);
    CHECK_TEXT(redacted(NULL, NULL, SECRET), SECRET);
    CHECK_TEXT(redacted(NULL, more, "xabcx"), "x***x");
    struct error err = ERROR_INIT;
    error_set(&err, ERR_REMOTE, EIO, "HTTP 401: %s is no password", SECRET);
    redact_error(r, more, &err);
    CHECK_TEXT(err.text, "HTTP 401: *** is no password");
    redactor_free(r);
}

static void
base64(const char *p, size_t n, bool url, char *out)
{
    const char *digits =
        url ? "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
            : "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        unsigned bits = (unsigned)(uint8_t)p[i] << 16;
        bits |= i + 1 < n ? (unsigned)(uint8_t)p[i + 1] << 8 : 0;
        bits |= i + 2 < n ? (unsigned)(uint8_t)p[i + 2] : 0;
        size_t some = n - i >= 3 ? 4 : n - i + 1;
        for (size_t k = 0; k < 4; k++)
            *out++ = k < some ? digits[bits >> (18 - 6 * k) & 63] : '=';
    }
    *out = '\0';
}

/* "user:password" in base64, whatever stands before it and however long the user's name is. */
static void
test_base64(void)
{
    struct redactor *r = redactor_create();
    CHECK(redactor_add(r, SECRET) == 0);
    bool good = true;
    for (int user = 0; user < 9; user++)
        for (int before = 0; before < 6; before++)
            for (int url = 0; url < 2; url++) {
                char plain[100], coded[200], text[300], want[300];
                snprintf(plain, sizeof plain, "%.*s:%s and more", user, "0123456789", SECRET);
                base64(plain, strlen(plain), url, coded);
                size_t pad = strcspn(coded, "=");
                snprintf(text, sizeof text, "Basic %.*s%s", before, "/path/x", coded);
                snprintf(want, sizeof want, "Basic ***%s", coded + pad);
                good = good && strcmp(redacted(r, NULL, text), want) == 0;
                base64(plain, (size_t)user, url, coded);
                good = good && strcmp(redacted(r, NULL, coded), coded) == 0;
            }
    CHECK_MSG(good, "within base64");
    redactor_free(r);
}

/* Any bytes before, between and behind: the secret is never left, and no more goes than it. */
static void
test_random(void)
{
    struct redactor *r = redactor_create();
    CHECK(redactor_add(r, "0123456789") == 0);
    bool good = true;
    for (int i = 0; i < 20000; i++) {
        char text[200];
        size_t n = random_below(60), at = random_below(n + 1);
        for (size_t k = 0; k < n; k++)
            text[k] = "ab%\\u2\"+/=-_ \x80\xC3\0"[random_below(16)];
        bool has = random_below(2);
        if (has) {
            memmove(text + at + 10, text + at, n - at);
            memcpy(text + at, "0123456789", 10);
            n += 10;
        }
        AUTO_BUF struct buf out = BUF_INIT(4096);
        redact(r, NULL, (struct str){text, n}, &out);
        bool same = out.n == n && memcmp(buf_z(&out), text, n) == 0;
        good = good && !out.failed && has != same &&
               (out.n == 0 || !memmem(out.p, out.n, "0123456789", 10));
        if (has && good)
            good = (at == 0 || memcmp(out.p, text, at) == 0) &&
                   memcmp(out.p + at, "***", 3) == 0 &&
                   memcmp(out.p + at + 3, text + at + 10, n - at - 10) == 0;
    }
    CHECK_MSG(good, "random texts");
    redactor_free(r);
}

int
main(void)
{
    random_start();
    test_ways();
    test_base64();
    test_random();
    return tap_done();
}
