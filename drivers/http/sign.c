/* HMACs and JSON web tokens: see sign.h. */
#include "http/sign.h"

#include <limits.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "base/cleanup.h"
#include "http/wipe.h"

enum {
    SECRET_MIN = 24, /* bytes; Standard Webhooks */
    SECRET_MAX = 64,
    SECRETS_MAX = 8, /* a request has one signature of each */
    RSA_BITS_MIN = 2048,
    RSA_BYTES_MAX = 16384 / 8, /* more than OpenSSL signs with */
};

/* libcrypto's own words go: they would be told to whoever uses it next in this thread. */
static int
wrong(struct error *err, const char *what)
{
    ERR_clear_error();
    return error_set(err, ERR_CONFIG, EINVAL, "%s", what);
}

static int
failed(struct error *err, const struct buf *out)
{
    return out->full ? error_set(err, ERR_LIMIT, EFBIG, "the signature is too long")
                     : error_no_memory(err);
}

/* ---- base 64 ---- */

static const char alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void
encode(struct buf *out, struct str bytes, const char *last, bool padded)
{
    for (size_t i = 0; i < bytes.n; i += 3) {
        size_t left = bytes.n - i;
        uint32_t three = 0;
        for (size_t j = 0; j < 3; j++)
            three = three << 8 | (j < left ? (unsigned char)bytes.p[i + j] : 0);
        for (size_t j = 0; j < 4; j++) {
            uint32_t six = three >> (18 - 6 * j) & 63;
            if (j <= left)
                buf_addc(out, six < 62 ? alphabet[six] : last[six - 62]);
            else if (padded)
                buf_addc(out, '=');
        }
    }
}

void
sign_base64(struct buf *out, struct str bytes)
{
    encode(out, bytes, "+/", true);
}

void
sign_base64url(struct buf *out, struct str bytes)
{
    encode(out, bytes, "-_", false);
}

/* How many bytes the text stands for, -1 when it is no base 64 or too many. What follows it is
 * NUL or none of base 64. */
static int
decode(struct str text, unsigned char to[SECRET_MAX + 2])
{
    size_t letters = strspn(text.p, alphabet), padding = text.n - letters;
    if (text.n % 4 != 0 || text.n / 4 * 3 > SECRET_MAX + 2 || padding > 2 ||
        strspn(text.p + letters, "=") < padding)
        return -1;
    int n = EVP_DecodeBlock(to, (const unsigned char *)text.p, (int)text.n);
    return n - (int)padding; /* which it counts */
}

/* ---- HMAC ---- */

struct mac {
    unsigned char bytes[EVP_MAX_MD_SIZE];
    size_t n;
};

/* False when memory is out: all else was looked at before. */
static bool
make_mac(const char *algorithm, struct str key, const struct str *parts, size_t nparts,
         struct mac *ret)
{
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST,
                                                            (char *)(uintptr_t)algorithm, 0),
                           OSSL_PARAM_construct_end()};
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *c = hmac ? EVP_MAC_CTX_new(hmac) : NULL;
    bool good = c && EVP_MAC_init(c, (const unsigned char *)key.p, key.n, params);
    for (size_t i = 0; good && i < nparts; i++)
        good = EVP_MAC_update(c, (const unsigned char *)parts[i].p, parts[i].n);
    good = good && EVP_MAC_final(c, ret->bytes, &ret->n, sizeof ret->bytes);
    EVP_MAC_CTX_free(c);
    EVP_MAC_free(hmac);
    if (!good)
        ERR_clear_error();
    return good;
}

static void
add_hex(struct buf *out, const struct mac *mac)
{
    for (size_t i = 0; i < mac->n; i++)
        buf_addf(out, "%02x", mac->bytes[i]);
}

static struct str
mac_str(const struct mac *mac)
{
    return (struct str){(const char *)mac->bytes, mac->n};
}

int
sign_hmac(const struct sign_hmac *how, struct str key, const struct str *parts, size_t nparts,
          struct buf *out, struct error *err)
{
    static const char *const known[] = {"sha256", "sha384", "sha512"};
    bool good = false;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        good = good || strcmp(known[i], how->algorithm) == 0;
    if (!good)
        return error_set(err, ERR_CONFIG, EINVAL,
                         "signatures are of sha256, sha384 or sha512, not of \"%s\"",
                         how->algorithm);
    if (key.n == 0)
        return wrong(err, "the secret to sign with is empty");
    struct mac mac;
    if (!make_mac(how->algorithm, key, parts, nparts, &mac))
        return error_no_memory(err);
    buf_adds(out, how->prefix ? how->prefix : "");
    if (how->encoding == SIGN_HEX)
        add_hex(out, &mac);
    else
        sign_base64(out, mac_str(&mac));
    return out->failed ? failed(err, out) : 0;
}

/* ---- Standard Webhooks ---- */

static int
add_signature(struct str secret, const struct str *parts, size_t nparts, struct buf *out,
              struct error *err)
{
    static const struct str prefix = {"whsec_", 6};
    unsigned char key[SECRET_MAX + 2];
    int n = -1;
    if (secret.n > prefix.n && memcmp(secret.p, prefix.p, prefix.n) == 0)
        n = decode((struct str){secret.p + prefix.n, secret.n - prefix.n}, key);
    if (n < SECRET_MIN || n > SECRET_MAX) {
        OPENSSL_cleanse(key, sizeof key);
        return wrong(err, "a webhook's secret is \"whsec_\" and 24 to 64 bytes in base 64");
    }
    struct mac mac;
    bool good = make_mac("sha256", (struct str){(char *)key, (size_t)n}, parts, nparts, &mac);
    OPENSSL_cleanse(key, sizeof key);
    if (!good)
        return error_no_memory(err);
    buf_adds(out, "v1,");
    sign_base64(out, mac_str(&mac));
    return out->failed ? failed(err, out) : 0;
}

int
sign_standard(const char *secrets, struct str id, int64_t timestamp, struct str body,
              struct buf *out, struct error *err)
{
    static const char blanks[] = " \t\r\n";
    AUTO_BUF struct buf time = BUF_INIT(32);
    buf_addc(&time, '.');
    buf_add_int(&time, timestamp);
    buf_addc(&time, '.');
    if (time.failed)
        return error_no_memory(err);
    const struct str parts[] = {id, buf_str(&time), body};
    size_t count = 0;
    for (const char *p = secrets + strspn(secrets, blanks); *p; p += strspn(p, blanks)) {
        size_t n = strcspn(p, blanks);
        if (++count > SECRETS_MAX)
            return wrong(err, "a webhook has at most eight secrets");
        if (count > 1)
            buf_addc(out, ' ');
        int rc = add_signature((struct str){p, n}, parts, 3, out, err);
        if (rc < 0)
            return rc;
        p += n;
    }
    return count > 0 ? 0 : wrong(err, "a webhook's secret is empty");
}

/* ---- JSON web tokens ---- */

/* Without it libcrypto would ask for a password on the terminal. */
static int
no_password(char *to, int room, int writing, void *arg)
{
    return -1;
}

static int
read_key(struct str pem, EVP_PKEY **ret, struct error *err)
{
    BIO *bio = pem.n <= INT_MAX ? BIO_new_mem_buf(pem.p, (int)pem.n) : NULL;
    if (!bio)
        return error_no_memory(err);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    BIO_free(bio);
    if (!key)
        return wrong(err, "the private key cannot be read: it is not PEM, or encrypted");
    if (!EVP_PKEY_is_a(key, "RSA") || EVP_PKEY_get_bits(key) < RSA_BITS_MIN) {
        EVP_PKEY_free(key);
        return wrong(err, "the private key is not one of RSA with at least 2048 bits");
    }
    *ret = key;
    return 0;
}

static int
add_rs256(EVP_PKEY *key, struct str text, struct buf *out, struct error *err)
{
    unsigned char bytes[RSA_BYTES_MAX];
    size_t n = sizeof bytes;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool good = c && EVP_DigestSignInit_ex(c, NULL, "SHA256", NULL, NULL, key, NULL) &&
                EVP_DigestSign(c, bytes, &n, (const unsigned char *)text.p, text.n);
    EVP_MD_CTX_free(c);
    if (!good)
        return wrong(err, "the private key cannot sign");
    buf_addc(out, '.');
    sign_base64url(out, (struct str){(char *)bytes, n});
    return out->failed ? failed(err, out) : 0;
}

int
sign_jwt(struct str header, struct str claims, struct str pem, struct buf *out,
         struct error *err)
{
    EVP_PKEY *key = NULL;
    int rc = read_key(pem, &key, err);
    if (rc < 0)
        return rc;
    size_t begin = out->n;
    sign_base64url(out, header);
    buf_addc(out, '.');
    sign_base64url(out, claims);
    if (out->failed)
        rc = failed(err, out);
    else
        rc = add_rs256(key, (struct str){out->p + begin, out->n - begin}, out, err);
    EVP_PKEY_free(key);
    return rc;
}
