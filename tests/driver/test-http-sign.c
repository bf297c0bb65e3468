/* Signatures, by the examples of those who made the rules: RFC 4231 (HMAC), RFC 4648 (base 64),
 * RFC 7515 (JWT), Standard Webhooks 1.0.0, GitHub. */
#include "http/sign.h"

#include "rfc7515.h"
#include "unit/tap.h"

/* The same key, PKCS#1. */
static const char pkcs1[] = "-----BEGIN RSA PRIVATE KEY-----\n"
                            "MIIEowIBAAKCAQEAofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd/wWJcyQoTbji9k0\n"
                            "l8W26mPddxHmfHQp+Vaw+4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL+yRT+SFd2lZS+pC\n"
                            "gNMsD1W/YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb/7OMg0LOL+bSf63kpaSHSX\n"
                            "ndS5z5rexMdbBYUsLA9e+KXBdQOS+UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uD\n"
                            "Zlxvb3qCo5ZwKh9kG4LT6/I5IhlJH7aGhyxXFvUK+DWNmoudF8NAco9/h9iaGNj8\n"
                            "q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQIDAQABAoIBABKucaRpzQorw35S\n"
                            "bEUAVx8dYXUdZOlJcHtiWQ+dC6V8ljxAHj/PLyzTveyI5QO/xkObCyjIL303l2cf\n"
                            "UhPu2MFaJdjVzqACXuOrLot/eSFvxjvqVidTtAZExqFRJ9mylUVAoLvhowVWmC1O\n"
                            "n95fZCXxTUtxNEG1Xcc7m0rtzJKs45J+N/V9DP1edYH6USyPSWGp6wuA+KgHRnKK\n"
                            "Vf9GRx80JQY7nVNkL17eHoTWEwga+lwi0FEoW9Y7lDtWXYmKBWhUE+U8PGxlJf8f\n"
                            "40493HDw1WRQ/aSLoS4QTp3rn7gYgeHEvfJdkkf0UMhlknlo53M09EFPdadQ4TlU\n"
                            "bjqKc50CgYEA4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH/5IB3jw3bcxGn6QLvnE\n"
                            "tfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw/Py5PJdTJNPY8cQn7ouZ2KKDcmnPG\n"
                            "BY5t7yLc1QlQ5xHdwW1VhvKn+nXqhJTBgIPgtldC+KDV5z+y2XDwGUcCgYEAuQPE\n"
                            "fgmVtjL0Uyyx88GZFF1fOunH3+7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYs\n"
                            "p1ZSe7zFYHj7C6ul7TjeLQeZD/YwD66t62wDmpe/HlB+TnBA+njbglfIsRLtXlnD\n"
                            "zQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdcCgYAHAp9XcCSrn8wVkMVkKdb7\n"
                            "DOX4IKjzdahm+ctDAJN4O/y7OW5FKebvUjdAIt2GuoTZ71iTG+7F0F+lP88jtjP4\n"
                            "U4qe7VHoewl4MKOfXZKTe+YCS1XbNvfgwJ3Ltyl1OH9hWvu2yza7q+d5PCsDzqtm\n"
                            "27kxuvULVeya+TEdAB1ijQKBgQCH/3r6YrVH/uCWGy6bzV1nGNOdjKc9tmkfOJmN\n"
                            "54dxdixdpozCQ6U4OxZrsj3FcOhHBsqAHvX2uuYjagqvo3cOj1TRqNocX40omfCC\n"
                            "Mx3bD1yPPf/6TI2XECva/ggqEY2mYzmIiA5LVVmc5nrybr+lssFKneeyxN2Wq93S\n"
                            "0iJMdQKBgCGHewxzoa1r8ZMD0LETNrToK423K377UCYqXfg5XMclbrjPbEC3YI1Z\n"
                            "NqMtuhdBJqUnBi6tjKMF+34Xf0CUN8ncuXGO2CAYvO8PdyCixHX52ybaDjy1FtCE\n"
                            "6yUXjoKNXKvUm7MWGsAYH6f4IegOetN5NvmUMFStCSkh7ixZLkN1\n"
                            "-----END RSA PRIVATE KEY-----\n";

/* RSA of 1024 bits. */
static const char short_key[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIICdgIBADANBgkqhkiG9w0BAQEFAASCAmAwggJcAgEAAoGBAMM4A7s410dwMYZf\n"
    "WAerWNKwkKnMK5poTUIpIlIV3YaL4muNNtDn/m/FXOmNcjGDTjqdPGxKRqeL3BpZ\n"
    "yo2hKsHcZGgv1sRIFX9NY5YChHdiCz8bwkbLKycaAZRwoDf8eAksxA0n9vlRiyG2\n"
    "/6JCiTp7dUxZ/IcC2x52vRsWlO2jAgMBAAECgYAg0GGQLtXA5FLuy0f4wgyEHbmz\n"
    "UOZjZfTWkiN6uMIrw4ejnHECXHygPQSJHYV8XR3hLFzjtvh5YUD2DPHHLLgK4nxM\n"
    "NmYLliZiaIRQTh7HnES9KflEHhD59Jr0A0HgaGX+quad/ULXoX6HRfJvcyOwSrOh\n"
    "9/8UYlm4GaM3b76aQQJBAPeqpidt3GYNwLOdX4YRFo++M+K/6XpNNgaHZd6CX/qv\n"
    "FevDLME7Vt8rEQWpq7BhyKHpHIFpNmhvCD4FMB1g4n8CQQDJyZc159ZPTOP+kWUX\n"
    "5NY/JNqLN/OMPX/piHuUZYU5OUMszVvBn9Hwd0lKrElbm+5ypbvwWQXVZnPXyBEz\n"
    "z5rdAkByWoTlZ8CADpGPXXahvHoiXLwwUlRHeCcd1J6goqoWYYlJlpCvl+qAmK3/\n"
    "Y1w20K+Gss/KoP3SMpInsNWKexWZAkBWm9j0ASMB/G2rWPp8C/NNPOM0d/pnygm5\n"
    "0aPBKOXKjuJfO3FTpOY2AO0LSPFfiYkJ2krVOVCArK2yAyQnCcddAkEAmpSgxJc+\n"
    "/WP+p3rp/Cfn5Uog3tmQQUO7j26TAigdD5xOOqOw0Hq5WlkbihqEFU246MHcrpub\n"
    "r9cO0zcymvD0eA==\n"
    "-----END PRIVATE KEY-----\n";

/* Of P-256. */
static const char curve_key[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgWUjSihNeN55uJhA/\n"
    "CrRrAdtH+fyY/mdv910+wis+PEuhRANCAATXX6gAfPPz3TbZGt3zGG5nsc4PZFVw\n"
    "657G4i278P9DyUd17njDnaH5N4IQuheSsjwdwIJywoIdwBXprQ2irJAt\n"
    "-----END PRIVATE KEY-----\n";

/* Encrypted. */
static const char locked_key[] =
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
    "MIIC5TBfBgkqhkiG9w0BBQ0wUjAxBgkqhkiG9w0BBQwwJAQQkTU7qp0Phl04LteY\n"
    "saD/2AICCAAwDAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEMpUWdlBaheBY/A/\n"
    "5N58Q2AEggKAUUbmBrv+gHGPxWrzE2LIHJIBnX7RP7O+JuTVMGFYvGv2OIwifG/O\n"
    "H2T4qMZFIIPOH1V9c/dUrRPcY43MOp80uGf959Ahk7uqDgnGlltw1qANbKRAg6Ly\n"
    "arzj2q8Efl2OorkDjDLXEwzJdnd3T/2tNHS4TO/vb1Pve1CIm3Q1DwMCMfw1yo4u\n"
    "rODzzh3fC2jDbzx2gbMPYTP0qoGFsgxchotwFW9AcBwSEFD4xb15+xqP5nYwZDh7\n"
    "0n+sAv/clEmIt0RzBOG1V47eyISLcey/f95K+SUyS+JR/yqldeBaiIY9XEUr1JjK\n"
    "freC2wMGt2MEvvq24ctt1CBzOkCSn4E66kPzdKpOZ5MK+7Nt0oIiRyhs6gYJyusQ\n"
    "fy7oa/17HVbbbux/DIUSYXXZFWO+ckjiJlhlTpkLFVGpAA5lGSx77Y/hR50FlUAt\n"
    "BJPMiqv432/l2Qx5juGDKvZsOqCy5zxwviuzMvJ4hRsUPN201uBB8X6XHm7XoMzQ\n"
    "CFb496ft3vNpn92kbQZ1DlwPxZeCVmQuNy7u2W36pX2F8+nfCfmwXUMpoQhouub6\n"
    "k6U0dsiDYmHrXNi2Qw476WhuecxUOqbruFm0wuM+0Tdii9D2l9IrhUc5k0XwueT3\n"
    "BmeO124leSbLS8MdhyZDQAVZ92wXRmjQ2/Ia4riZRm/df2D8xAA6h5g7O1pnmnXM\n"
    "xtIlIpN/pHnAKiF0c4JSvoO1NjGopKU05FWlTy4k+n9edc6KDPS+RlW4EFcQ2flP\n"
    "ROLf4oX+3FQdpIz/92Fd3hHo5Vd3GoddLodxMD7yxqLV6GRfl7neOQ9rOLI6W8OB\n"
    "DSBkXpaAWH5KzmDClfoeEzufWMFAiB5geA==\n"
    "-----END ENCRYPTED PRIVATE KEY-----\n";

static struct buf out = BUF_INIT(8192);
static struct error err;

/* The result, or the error. */
static const char *
done(int rc)
{
    CHECK((rc < 0) == (err.kind != ERR_NONE));
    return rc < 0 ? err.text : buf_z(&out);
}

static void
begin(void)
{
    buf_clear(&out);
    error_clear(&err);
}

static const char *
base64(const char *text, bool url)
{
    begin();
    (url ? sign_base64url : sign_base64)(&out, str_of(text));
    return buf_z(&out);
}

static void
test_base64(void)
{
    CHECK_TEXT(base64("", false), "");
    CHECK_TEXT(base64("f", false), "Zg==");
    CHECK_TEXT(base64("fo", false), "Zm8=");
    CHECK_TEXT(base64("foo", false), "Zm9v");
    CHECK_TEXT(base64("foobar", false), "Zm9vYmFy");
    CHECK_TEXT(base64("\xfb\xff\xfe\xff", false), "+//+/w==");
    CHECK_TEXT(base64("\xfb\xff\xfe\xff", true), "-__-_w");
    CHECK_TEXT(base64("fo", true), "Zm8");
}

static const char *
hmac(const char *algorithm, enum sign_encoding encoding, const char *prefix, struct str key,
     const struct str *parts, size_t n)
{
    const struct sign_hmac how = {algorithm, encoding, prefix};
    begin();
    return done(sign_hmac(&how, key, parts, n, &out, &err));
}

static void
test_hmac(void)
{
    char b[20], aa[131];
    memset(b, 0x0b, sizeof b);
    memset(aa, 0xaa, sizeof aa);
    struct str hi = STR("Hi There"),
               jefe[] = {STR("what do ya want"), STR(""), STR(" for nothing?")},
               larger = STR("Test Using Larger Than Block-Size Key - Hash Key First"),
               hello = STR("Hello, World!");
    CHECK_TEXT(hmac("sha256", SIGN_HEX, NULL, (struct str){b, sizeof b}, &hi, 1),
               "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    CHECK_TEXT(hmac("sha256", SIGN_HEX, NULL, STR("Jefe"), jefe, 3),
               "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    CHECK_TEXT(hmac("sha512", SIGN_HEX, NULL, STR("Jefe"), jefe, 3),
               "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
               "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737");
    CHECK_TEXT(hmac("sha256", SIGN_HEX, NULL, (struct str){aa, sizeof aa}, &larger, 1),
               "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    CHECK_TEXT(
        hmac("sha256", SIGN_HEX, "sha256=", STR("It's a Secret to Everybody"), &hello, 1),
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");
    CHECK_TEXT(hmac("sha256", SIGN_BASE64, "v0=", STR("Jefe"), jefe, 3),
               "v0=W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=");
    CHECK_TEXT(hmac("sha257", SIGN_HEX, NULL, STR("Jefe"), jefe, 3),
               "signatures are of sha256, sha384 or sha512, not of \"sha257\"");
    CHECK_TEXT(hmac("sha256", SIGN_HEX, NULL, STR(""), jefe, 3),
               "the secret to sign with is empty");
}

static const char *
standard(const char *secrets)
{
    begin();
    return done(sign_standard(secrets, STR("msg_p5jXN8AQM9LWM0D4loKWxJek"), 1614265330,
                              STR("{\"test\": 2432232314}"), &out, &err));
}

static void
test_standard_webhooks(void)
{
#define SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#define SIGNED "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
#define EIGHT SECRET " " SECRET " " SECRET " " SECRET " "
#define ZEROS "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" /* 24 bytes */
    static const char no_secret[] =
        "a webhook's secret is \"whsec_\" and 24 to 64 bytes in base 64";
    CHECK_TEXT(standard(SECRET), SIGNED);
    CHECK_TEXT(standard("\n " SECRET "\n"), SIGNED);
    CHECK_TEXT(standard("whsec_" ZEROS " " SECRET),
               "v1,woH/1mJtZGSMCmpFTxRYbStS24eLLD/oXIYr4PYyZ7g= " SIGNED);
    CHECK_MSG(strlen(standard("whsec_" ZEROS ZEROS "AAAAAAAAAAAAAAAAAAAAAA==")) == 47,
              "a key of 64 bytes");
    CHECK_TEXT(standard("whsec_" ZEROS ZEROS "AAAAAAAAAAAAAAAAAAAAAAA="), no_secret);
    CHECK_TEXT(standard("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), no_secret);
    CHECK_TEXT(standard("whsec_" ZEROS "A"), no_secret);
    CHECK_TEXT(standard("whsec_AAAAAAAA=AAAAAAAAAAAAAAAAAAAAAAAAAAA"), no_secret);
    CHECK_TEXT(standard("whsec_" ZEROS "A==="), no_secret);
    CHECK_TEXT(standard("whsec_" ZEROS "----"), no_secret);
    CHECK_TEXT(standard("whsec_"), no_secret);
    CHECK_TEXT(standard("whsk_" ZEROS), no_secret);
    CHECK_TEXT(standard(SECRET " x"), no_secret);
    CHECK_TEXT(standard(" \n"), "a webhook's secret is empty");
    CHECK_MSG(strlen(standard(EIGHT EIGHT)) == 8 * 48 - 1, "eight secrets");
    CHECK_TEXT(standard(EIGHT EIGHT SECRET), "a webhook has at most eight secrets");
}

static const char *
jwt(const char *pem)
{
    begin();
    return done(
        sign_jwt(str_of(rfc7515_header), str_of(rfc7515_claims), str_of(pem), &out, &err));
}

static void
test_jwt(void)
{
    static const char unreadable[] =
        "the private key cannot be read: it is not PEM, or encrypted";
    static const char other[] = "the private key is not one of RSA with at least 2048 bits";
    CHECK_TEXT(jwt(rfc7515_key), rfc7515_token);
    CHECK_TEXT(jwt(pkcs1), rfc7515_token);
    CHECK_TEXT(jwt(short_key), other);
    CHECK_TEXT(jwt(curve_key), other);
    CHECK_TEXT(jwt(locked_key), unreadable);
    CHECK_TEXT(jwt(""), unreadable);
    CHECK_TEXT(jwt("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n"),
               unreadable);
}

/* What is signed with nowhere near enough room is no signature. */
static void
test_room(void)
{
    struct buf little = BUF_INIT(1);
    struct str text = STR("Hi There");
    const struct sign_hmac how = {"sha256", SIGN_HEX,
                                  "a prefix that needs more than sixty-four "
                                  "bytes, which is what there is at least"};
    CHECK(sign_hmac(&how, text, &text, 1, &little, &err) == -EFBIG && err.kind == ERR_LIMIT);
    buf_clear(&little);
    CHECK(sign_jwt(text, text, str_of(rfc7515_key), &little, &err) == -EFBIG);
    buf_done(&little);
}

int
main(void)
{
    test_base64();
    test_hmac();
    test_standard_webhooks();
    test_jwt();
    test_room();
    buf_done(&out);
    return tap_done();
}
