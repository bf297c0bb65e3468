/*
 * Normal forms of what identifies people. The hashes are those that the vendors publish for
 * their examples: Google in the Data Manager API's guides ("Format user data", and the hashes
 * of "Send audience members"), Meta in "Customer Information Parameters" of the Conversions
 * API.
 */
#include "define/normalize.h"

#include <openssl/evp.h>

#include "base/cleanup.h"
#include "define/calling_codes.h"
#include "define/letters.h"
#include "tap.h"

static struct buf out = BUF_INIT(BUF_NO_MAX);

/* The normal form, "-" for none, or the error's words. */
static const char *
form_of(normalize_fn *normalize, struct str in, const char *country)
{
    static struct error err;
    err = (struct error)ERROR_INIT;
    int rc = normalize(in, str_of(country), &out, &err);
    CHECK(rc == 0 ? err.kind == ERR_NONE : rc == -EINVAL && err.kind == ERR_DATA);
    return rc ? err.text : out.n ? buf_z(&out) : "-";
}

static const char *
email(const char *in)
{
    return form_of(normalize_email, str_of(in), "");
}

static const char *
google(const char *in)
{
    return form_of(normalize_email_google, str_of(in), "");
}

static const char *
name(const char *in)
{
    return form_of(normalize_name, str_of(in), "");
}

static const char *
phone(const char *in, const char *country)
{
    return form_of(normalize_phone_e164, str_of(in), country);
}

static const char *
zip(const char *in, const char *country)
{
    return form_of(normalize_zip, str_of(in), country);
}

static bool
refuses(const char *got, const char *why)
{
    bool ok = strstr(got, why) != NULL;
    if (!ok)
        printf("# got: %s\n", got);
    return ok;
}

static const char *
sha256(const char *text)
{
    static char hex[65];
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (!EVP_Digest(text, strlen(text), sum, &n, EVP_sha256(), NULL) || n != 32)
        return "no sha256";
    for (size_t i = 0; i < n; i++)
        snprintf(hex + 2 * i, 3, "%02x", sum[i]);
    return hex;
}

static void
test_published(void)
{
    CHECK_TEXT(sha256(google("dana@example.com")),
               "07e2f1394b0ea80e2adca010ea8318df697001a005ba7452720edda4b0ce57b3");
    CHECK_TEXT(sha256(google("DanaM@example.com")),
               "1df6b43bc68dd38eca94e6a65b4f466ae537b796c81a526918b40ac4a7b906c7");
    CHECK_TEXT(sha256(google("AlexJ@example.com")),
               "2ef46c4214c3fc1b277a2d976d55194e12b899aa50d721f28da858c7689756e3");
    CHECK_TEXT(sha256(email("John_Smith@gmail.com")),
               "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f");
    CHECK_TEXT(sha256(form_of(normalize_phone_digits, STR("(650)555-1212"), "US")),
               "e323ec626319ca94ee8bff2e4c87cf613be6ea19919ed1364124e16807ab3176");
    CHECK_TEXT(sha256(name("Mary")),
               "6915771be1c5aa0c886870b6951b03d7eafc121fea0e80a5ea83beb7c449f4ec");
    CHECK_TEXT(sha256(name("\uC815")),
               "8fa8cd9c440be61d0151429310034083132b35975c4bea67fdd74158eb51db14");
    CHECK_TEXT(sha256(name("Val\u00E9ry")),
               "08e1996b5dd49e62a4b4c010d44e4345592a863bb9f8e3976219bac29417149c");
    CHECK_TEXT(sha256(form_of(normalize_country, STR("US"), "")),
               "79adb2a2fce5c6ba215fe5f27f532d4e7edbac4b6a5e09e1ef3a08084a904621");
    /* published as texts, before and after */
    CHECK_TEXT(google("cloudy.sanfrancisco+shopping@gmail.com"),
               "cloudysanfrancisco@gmail.com");
    CHECK_TEXT(google("user.name+NYC@Example.com"), "user.name+nyc@example.com");
    CHECK_TEXT(google("quinn@CYMBALGROUP.com"), "quinn@cymbalgroup.com");
    CHECK_TEXT(phone("(800)555-0100", "US"), "+18005550100");
    CHECK_TEXT(phone("+1 800-555-0101", ""), "+18005550101");
    CHECK_TEXT(zip("M1 1AE", "GB"), "m11ae");
    CHECK_TEXT(form_of(normalize_city, STR("New York"), ""), "newyork");
}

static void
test_email(void)
{
    CHECK_TEXT(email(" \t\r\nAda@Example.COM \u00A0"), "ada@example.com");
    CHECK_TEXT(email("a.b+c@gmail.com"), "a.b+c@gmail.com");
    CHECK_TEXT(email("\u00C4da@B\u00DCCHER.example"), "\u00E4da@b\u00FCcher.example");
    CHECK_TEXT(email("o'neil_%x@a-b.example"), "o'neil_%x@a-b.example");
    CHECK_TEXT(email("a@localhost"), "a@localhost");
    CHECK_TEXT(email(""), "-");
    CHECK_TEXT(email(" \u200B\n"), "-");
    CHECK(refuses(email("ada"), "has no @"));
    CHECK(refuses(email("a@b@c"), "more than one @"));
    CHECK(refuses(email("@b.example"), "nothing stands before the @"));
    CHECK(refuses(email("a@"), "nothing stands after the @"));
    CHECK(refuses(email("a b@c.example"), "white space stands inside"));
    CHECK(refuses(email("a\u200B@c.example"), "white space stands inside"));
    CHECK(refuses(email("a@.example"), "a part of its domain is empty"));
    CHECK(refuses(email("a@b..example"), "a part of its domain is empty"));
    CHECK(refuses(email("a@b.example."), "a part of its domain is empty"));
    CHECK(refuses(email("<a@b.example>"), "the character '<'"));
    CHECK(refuses(email("mailto:a@b.example"), "the character ':'"));
    CHECK(refuses(email("a\x01@b.example"), "control character"));
    CHECK(refuses(email("a\xFF@b.example"), "no UTF-8 text"));
    CHECK(refuses(form_of(normalize_email, STR("a@b\0c"), ""), "no UTF-8 text"));
    AUTO_BUF struct buf many = BUF_INIT(0);
    while (many.n < 242)
        buf_addc(&many, 'A');
    buf_adds(&many, "@example.com"); /* 254 bytes */
    CHECK(strlen(email(buf_z(&many))) == 254);
    buf_addc(&many, 'm');
    CHECK(refuses(email(buf_z(&many)), "longer than 254"));
    while (many.n < 100000)
        buf_adds(&many, "@ ");
    CHECK(refuses(email(buf_z(&many)), "longer than 254"));
    CHECK(strstr(email("private@@x"), "private") == NULL); /* whose it is stays in the row */
}

static void
test_google(void)
{
    CHECK_TEXT(google(" A.d.a + x @ GoogleMail.com "), "ada@googlemail.com");
    CHECK_TEXT(google("da na@example.com"), "dana@example.com");
    CHECK_TEXT(google("a.b+c@gmail.com.example"), "a.b+c@gmail.com.example");
    CHECK_TEXT(google("a.b+c@notgmail.com"), "a.b+c@notgmail.com");
    CHECK_TEXT(google("ada@gmail.com"), "ada@gmail.com");
    CHECK_TEXT(google("a++.+@gmail.com"), "a@gmail.com");
    CHECK_TEXT(google("  "), "-");
    CHECK(refuses(google("+x@gmail.com"), "nothing is left before the @"));
    CHECK(refuses(google("..@gmail.com"), "nothing is left before the @"));
    CHECK(refuses(google("@gmail.com"), "nothing stands before the @"));
    CHECK(refuses(google("a\xC3@gmail.com"), "no UTF-8 text"));
}

static void
test_names(void)
{
    CHECK_TEXT(name("  Mary-Ann   O'Neil, Jr. "), "maryann oneil jr");
    CHECK_TEXT(name("O\u2019NEIL\u2014\u00BFX\u00BF"), "oneilx");
    CHECK_TEXT(name("\u00C9MILE \u0141UKASZ \u0416\u0410\u041D\u041D\u0410"),
               "\u00E9mile \u0142ukasz \u0436\u0430\u043D\u043D\u0430");
    CHECK_TEXT(name("\u0393\u0399\u03A9\u03A1\u0393\u039F\u03A3"),
               "\u03B3\u03B9\u03C9\u03C1\u03B3\u03BF\u03C2");
    CHECK_TEXT(name("\u03A3\u039F\u03A3 \u03A3"), "\u03C3\u03BF\u03C2 \u03C3");
    CHECK_TEXT(name("\u0130I\u0131"), "i\u0307i\u0131");
    CHECK_TEXT(name("\u1E9E\u212A\u023A\uFF21\U00010400"), "\u00DFk\u2C65\uFF41\U00010428");
    CHECK_TEXT(name("\u0100\u0101\u0102\u0138\u0139\u00D7\u00F7"),
               "\u0101\u0101\u0103\u0138\u013A\u00D7\u00F7");
    CHECK_TEXT(name("\u738B\u3000\u5C0F\u30FB\u660E\uFF01"), "\u738B \u5C0F\u660E");
    CHECK_TEXT(name("e\u0301"), "e\u0301"); /* not composed */
    CHECK_TEXT(name("\uFEFFA\u200Bd\u200Fa \u200B Lee\u202C"), "ada lee");
    CHECK_TEXT(name("\u0645\u06CC\u200C\u062E"), "\u0645\u06CC\u200C\u062E");
    CHECK_TEXT(name(". , -"), "-");
    CHECK_TEXT(name(". a - b ."), "a b");
    CHECK(refuses(name("a\x80"), "no UTF-8 text"));
    CHECK_TEXT(form_of(normalize_city, STR(" S\u00C3O Paulo (SP) "), ""), "s\u00E3opaulosp");
    CHECK_TEXT(form_of(normalize_city, STR("\n"), ""), "-");
}

static void
test_places(void)
{
    CHECK_TEXT(zip("94035-1234", "US"), "94035");
    CHECK_TEXT(zip("940351234", "us"), "94035");
    CHECK_TEXT(zip(" 94035 ", " US "), "94035");
    CHECK_TEXT(zip("94035-1234", ""), "940351234");
    CHECK_TEXT(zip("01310\u2013100", "BR"), "01310100");
    CHECK_TEXT(zip("K1A 0B1", "CA"), "k1a0b1");
    CHECK_TEXT(zip(" - ", "US"), "-");
    CHECK(refuses(zip("1234", "US"), "5 or 9 digits"));
    CHECK(refuses(zip("9403S", "US"), "5 or 9 digits"));
    CHECK(refuses(zip("\xC3", "US"), "no UTF-8 text"));
    CHECK_TEXT(form_of(normalize_country, STR(" De "), ""), "de");
    CHECK_TEXT(form_of(normalize_country, STR("UK"), ""), "gb");
    CHECK_TEXT(form_of(normalize_country, STR(""), ""), "-");
    CHECK(refuses(form_of(normalize_country, STR("USA"), ""), "two-letter"));
    CHECK(refuses(form_of(normalize_country, STR("\u00C4"), ""), "two-letter"));
    CHECK(refuses(form_of(normalize_country, STR("D1"), ""), "two-letter"));
}

static void
test_phone_international(void)
{
    CHECK_TEXT(phone("+49 30 123456", ""), "+4930123456");
    CHECK_TEXT(phone("+49 (0)30 / 1234-56", "FR"), "+4930123456");
    CHECK_TEXT(phone("(+49) 30.123456", ""), "+4930123456");
    CHECK_TEXT(phone("\u202A\uFF0B49\u00A030\u2011123456\u202C", ""), "+4930123456");
    CHECK_TEXT(phone("0049 30 123456", ""), "+4930123456");
    CHECK_TEXT(phone("0049 30 123456", "FR"), "+4930123456");
    CHECK_TEXT(phone("011 49 30 123456", "US"), "+4930123456");
    CHECK_TEXT(phone("0011 49 30 123456", "AU"), "+4930123456");
    CHECK_TEXT(phone("010 49 30 123456", "JP"), "+4930123456");
    CHECK_TEXT(phone("+39 06 12345678", ""), "+390612345678");
    CHECK_TEXT(phone("+36 06 1 234 5678", ""), "+3612345678");
    CHECK_TEXT(phone("+7 8 912 345-67-89", ""), "+79123456789");
    CHECK_TEXT(phone("+7 800 123-45-67", ""), "+78001234567");
    CHECK_TEXT(phone("+290 1234", ""), "+2901234");
    CHECK_TEXT(phone("+999 12345", ""), "+99912345");
    CHECK_TEXT(phone(" ", "US"), "-");
    CHECK_TEXT(form_of(normalize_phone_digits, STR("+49 30 123456"), ""), "4930123456");
    CHECK_TEXT(form_of(normalize_phone_digits, STR(""), ""), "-");
    CHECK(refuses(phone("+1 650 555 121", ""), "after +1 come ten digits"));
    CHECK(refuses(phone("+1 150 555 1212", ""), "after +1 come ten digits"));
    CHECK(refuses(phone("+0049 30 123456", ""), "no calling code begins with 0"));
    CHECK(refuses(phone("+66 00 1925 4287", ""), "zeros follow the calling code"));
    CHECK(refuses(phone("+49 1", ""), "7 to 15 digits"));
    CHECK(refuses(phone("+49 30 123456789012", ""), "7 to 15 digits"));
    CHECK(refuses(phone("+49 30 123456789012345678901234567890", ""), "too many digits"));
    CHECK(refuses(phone("+999999999999999999", ""), "7 to 15 digits"));
    CHECK(refuses(phone("++49 30 123456", ""), "the character \"+\""));
    CHECK(refuses(phone("49+30123456", ""), "the character \"+\""));
    CHECK(refuses(phone("+1 800 FLOWERS", ""), "the character \"F\""));
    CHECK(refuses(phone("+49 30 123456 ext. 7", ""), "the character \"e\""));
    CHECK(refuses(phone("+\u0664\u0669", ""), "the character \"\u0664\""));
    CHECK(refuses(phone("16505551212.0", "US"), "decimal point"));
    CHECK(refuses(phone("-", "US"), "no digits"));
    CHECK(refuses(phone("+", ""), "no digits"));
    CHECK(refuses(phone("+49 30\xFF", ""), "no UTF-8 text"));
    CHECK(refuses(form_of(normalize_phone_e164, STR("+4930123456\0"), ""), "no UTF-8 text"));
}

static void
test_phone_national(void)
{
    CHECK_TEXT(phone("030 123456", "DE"), "+4930123456");
    CHECK_TEXT(phone("030 123456", "de"), "+4930123456");
    CHECK_TEXT(phone("030 123456", " 49 "), "+4930123456");
    CHECK_TEXT(phone("030 123456", "+49"), "+4930123456");
    CHECK_TEXT(phone("15112345678", "DE"), "+4915112345678");
    CHECK_TEXT(phone("1 (650) 555-1212", "US"), "+16505551212");
    CHECK_TEXT(phone("650.555.1212", "1"), "+16505551212");
    CHECK_TEXT(phone("07911 123456", "UK"), "+447911123456");
    CHECK_TEXT(phone("447911123456", "GB"), "+447911123456");
    CHECK_TEXT(phone("33612345678", "FR"), "+33612345678");
    CHECK_TEXT(phone("9123456789", "IN"), "+919123456789");
    CHECK_TEXT(phone("5511912345678", "BR"), "+5511912345678");
    CHECK_TEXT(phone("55 99999-1234", "BR"), "+5555999991234");
    CHECK_TEXT(phone("06 12345678", "IT"), "+390612345678");
    CHECK_TEXT(phone("3931234567", "IT"), "+393931234567");
    CHECK_TEXT(phone("393331234567", "IT"), "+393331234567");
    CHECK_TEXT(phone("612 345 678", "ES"), "+34612345678");
    CHECK_TEXT(phone("8 912 345-67-89", "RU"), "+79123456789");
    CHECK_TEXT(phone("8001234567", "RU"), "+78001234567");
    CHECK_TEXT(phone("06 1 234 5678", "HU"), "+3612345678");
    CHECK_TEXT(phone("8 029 123 45 67", "BY"), "+375291234567");
    CHECK_TEXT(phone("8 612 34567", "LT"), "+37061234567");
    CHECK_TEXT(phone("0 612 34567", "LT"), "+37061234567");
    CHECK_TEXT(phone("07 01 23 45 67", "CI"), "+2250701234567");
    CHECK(refuses(phone("030 123456", ""), "no country is given"));
    CHECK(refuses(phone("030 123456", "XX"), "\"XX\" is no country"));
    CHECK(refuses(phone("030 123456", "Germany"), "\"Germany\" is no country"));
    CHECK(refuses(phone("030 123456", "4"), "is no country"));
    CHECK(refuses(phone("030 123456", "490"), "is no country"));
    CHECK(refuses(phone("030 123456", "+"), "is no country"));
    CHECK(refuses(phone("030 123456", "\xFF\xFF"), "is no country"));
    CHECK(refuses(phone("4915112345678", "DE"), "two meanings"));
    CHECK(refuses(phone("0612345678", "ES"), "write it with +"));
    CHECK(refuses(phone("001 49 30 123456", "KR"), "write it with +"));
    CHECK(refuses(phone("555-1212", "US"), "of US: that has 10 digits, this 7"));
    CHECK(refuses(phone("1 50 555 1212", "US"), "that has 10 digits, this 9"));
    CHECK(refuses(phone("150 555 1212", "CA"), "that has 10 digits, this 9"));
    CHECK(refuses(phone("06 12 34", "FR"), "of FR: that has 9 digits, this 5"));
    CHECK(refuses(phone("0", "DE"), "that has 5 to 15 digits, this 0"));
    CHECK(refuses(phone("12", "GB"), "that has 9 to 10 digits, this 2"));
}

/* bsearch finds every region, and countries that share a code are judged alike after a +. */
static void
test_calling_codes(void)
{
    size_t n = 0, wrong = 0;
    for (const struct calling_code *c; (c = calling_code_at(n)); n++) {
        char digits[8];
        int size = snprintf(digits, sizeof digits, "%u", c->code);
        const struct calling_code *first = calling_code_of((struct str){digits, (size_t)size});
        wrong += calling_code_find(str_of(c->region)) != c;
        wrong += calling_code_digits(c) != (size_t)size || c->min > c->max;
        wrong += calling_code_find(str_of(digits)) != first || !first;
        wrong += first && (first->code != c->code || first->rule != c->rule);
        wrong += c->max + (unsigned)size > 17;
    }
    CHECK(n == 245);
    CHECK(wrong == 0);
    CHECK(calling_code_of(STR("")) == NULL);
    CHECK(calling_code_of(STR("999")) == NULL);
    CHECK(calling_code_of(STR("0")) == NULL);
}

static void
test_hashed(void)
{
    CHECK(normalize_hashed(
        STR(" 62A14E44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f\n"), &out));
    CHECK_TEXT(buf_z(&out), "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f");
    CHECK(!normalize_hashed(
        STR("62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62"), &out));
    CHECK(!normalize_hashed(
        STR("62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62g"), &out));
    CHECK(!normalize_hashed(STR(""), &out));
    CHECK(!normalize_hashed(STR("  "), &out));
}

/* Any bytes give a text or an error, and a normal form is its own normal form. */
static void
test_any(void)
{
    static normalize_fn *const all[] = {
        normalize_email, normalize_email_google, normalize_phone_e164, normalize_phone_digits,
        normalize_name,  normalize_city,         normalize_zip,        normalize_country};
    static const char *const pieces[] = {"a", "Z",  "@",         ".",      "+",      " ",
                                         "0", "49", "gmail.com", "-",      "\u0130", "\u03A3",
                                         "(", "US", "\xFF",      "\u00C4", "1"};
    unsigned seed = 7;
    size_t unstable = 0, bad = 0;
    for (int i = 0; i < 20000; i++) {
        char text[200] = "";
        size_t n = 0;
        for (int k = 0; k < 14; k++) {
            seed = seed * 1103515245 + 12345;
            const char *piece = pieces[(seed >> 16) % (sizeof pieces / sizeof *pieces)];
            n += (size_t)snprintf(text + n, sizeof text - n, "%s", piece);
        }
        normalize_fn *normalize = all[i % 8];
        struct error err = ERROR_INIT;
        struct str country = i & 8 ? STR("DE") : STR("");
        int rc = normalize((struct str){text, n}, country, &out, &err);
        bad += rc != 0 && (rc != -EINVAL || err.kind != ERR_DATA || !*err.text);
        if (rc || normalize == normalize_phone_digits || out.n == 0)
            continue;
        AUTO_BUF struct buf again = BUF_INIT(0);
        rc = normalize(buf_str(&out), country, &again, &err);
        unstable += rc || !str_equal(buf_str(&out), buf_str(&again));
    }
    CHECK(bad == 0);
    CHECK(unstable == 0);
}

int
main(void)
{
    test_published();
    test_email();
    test_google();
    test_names();
    test_places();
    test_phone_international();
    test_phone_national();
    test_calling_codes();
    test_hashed();
    test_any();
    buf_done(&out);
    return tap_done();
}
