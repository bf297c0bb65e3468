/* Functions for expressions: see sandbox_functions.h. */
#include "define/sandbox_functions.h"

#include <math.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "define/normalize.h"

enum { KEPT_MAX = 64 << 10 }; /* bytes of a buffer kept for the next row */

static const struct normalizer {
    const char *name;
    normalize_fn *normalize;
    int arguments; /* at most; the second one is a country */
} normalizers[] = {
    {"normalize_city", normalize_city, 1},
    {"normalize_country", normalize_country, 1},
    {"normalize_email", normalize_email, 1},
    {"normalize_email_google", normalize_email_google, 1},
    {"normalize_name", normalize_name, 1},
    {"normalize_phone_digits", normalize_phone_digits, 2},
    {"normalize_phone_e164", normalize_phone_e164, 2},
    {"normalize_zip", normalize_zip, 2},
};
enum { NORMALIZERS = sizeof normalizers / sizeof *normalizers };

struct sandbox_functions {
    EVP_MD *sha256;
    EVP_MD_CTX *digest;
    struct buf out; /* of the call that is going on */
    struct call {
        struct sandbox_functions *functions;
        const struct normalizer *normalizer;
        bool try;
    } calls[2 * NORMALIZERS];
};

/* ---- arguments ---- */

/* The bytes of a text or blob, none of NULL. A number is the text of it, a float that is whole
 * without the ".0" that SQLite would add: such are telephone numbers that went through a
 * spreadsheet. `number` is where that text stands. False: out of memory, which is said. */
static bool
argument(sqlite3_context *context, sqlite3_value *value, char number[24], struct str *ret)
{
    int type = sqlite3_value_type(value);
    *ret = STR("");
    if (type == SQLITE_FLOAT) {
        double v = sqlite3_value_double(value);
        if (fabs(v) < 0x1p53 && (double)(long long)v == v) {
            sqlite3_snprintf(24, number, "%lld", (long long)v);
            *ret = str_of(number);
            return true;
        }
    }
    if (type != SQLITE_BLOB && type != SQLITE_NULL && !sqlite3_value_text(value)) {
        sqlite3_result_error_nomem(context);
        return false;
    }
    const char *p = sqlite3_value_blob(value);
    if (p)
        *ret = (struct str){p, (size_t)sqlite3_value_bytes(value)};
    return true;
}

/* ---- hashes ---- */

static void
hash(sqlite3_context *context, struct sandbox_functions *f, sqlite3_value *value)
{
    if (sqlite3_value_type(value) != SQLITE_BLOB && !sqlite3_value_text(value)) {
        sqlite3_result_error_nomem(context); /* a number would become its text */
        return;
    }
    const void *p = sqlite3_value_blob(value);
    size_t size = (size_t)sqlite3_value_bytes(value);
    unsigned char sum[EVP_MAX_MD_SIZE];
    if (!EVP_DigestInit_ex2(f->digest, f->sha256, NULL) ||
        (size > 0 && !EVP_DigestUpdate(f->digest, p, size)) ||
        !EVP_DigestFinal_ex(f->digest, sum, NULL)) {
        sqlite3_result_error_nomem(context); /* nothing else can be wrong */
        return;
    }
    char hex[64];
    for (size_t i = 0; i < 32; i++) {
        hex[2 * i] = "0123456789abcdef"[sum[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[sum[i] & 15];
    }
    sqlite3_result_text(context, hex, sizeof hex, SQLITE_TRANSIENT);
}

/* sha256(x): lower-case hexadecimal of the bytes of a text or blob; NULL of NULL. */
static void
sha256(sqlite3_context *context, int n, sqlite3_value **args)
{
    if (sqlite3_value_type(args[0]) != SQLITE_NULL)
        hash(context, sqlite3_user_data(context), args[0]);
}

/* Puts what was hashed already out; true if it was. */
static bool
hashed(sqlite3_context *context, struct sandbox_functions *f, struct str in)
{
    if (!normalize_hashed(in, &f->out))
        return false;
    if (f->out.failed)
        sqlite3_result_error_nomem(context);
    else
        sqlite3_result_text(context, f->out.p, (int)f->out.n, SQLITE_TRANSIENT);
    return true;
}

/* sha256_once(x): the same, but what is a SHA-256 in hexadecimal stays what it is. */
static void
sha256_once(sqlite3_context *context, int n, sqlite3_value **args)
{
    struct sandbox_functions *f = sqlite3_user_data(context);
    char number[24];
    struct str in;
    if (sqlite3_value_type(args[0]) == SQLITE_NULL || !argument(context, args[0], number, &in))
        return;
    if (!hashed(context, f, in))
        hash(context, f, args[0]);
}

/* ---- normal forms ---- */

static void
normalize(sqlite3_context *context, int n, sqlite3_value **args)
{
    const struct call *call = sqlite3_user_data(context);
    struct sandbox_functions *f = call->functions;
    char number[2][24];
    struct str in, country = STR("");
    if (sqlite3_value_type(args[0]) == SQLITE_NULL ||
        !argument(context, args[0], number[0], &in) ||
        (n > 1 && !argument(context, args[1], number[1], &country)) || hashed(context, f, in))
        return;
    struct error err = ERROR_INIT;
    int rc = call->normalizer->normalize(in, country, &f->out, &err);
    if (rc && err.kind == ERR_INTERNAL)
        sqlite3_result_error_nomem(context);
    else if (rc && !call->try)
        sqlite3_result_error(context, err.text, -1);
    else if (rc == 0 && f->out.n > 0)
        sqlite3_result_text64(context, f->out.p, f->out.n, SQLITE_TRANSIENT, SQLITE_UTF8);
    if (f->out.cap > KEPT_MAX)
        buf_done(&f->out);
}

/* ---- making them known ---- */

static int
add_normalizer(sqlite3 *db, struct call *call, int flags)
{
    char name[32];
    int rc = SQLITE_OK;
    sqlite3_snprintf(sizeof name, name, "%s%s", call->try ? "try_" : "",
                     call->normalizer->name);
    for (int n = 1; n <= call->normalizer->arguments && rc == SQLITE_OK; n++)
        rc = sqlite3_create_function(db, name, n, flags, call, normalize, NULL, NULL);
    return rc;
}

int
sandbox_functions_open(sqlite3 *db, struct sandbox_functions **ret)
{
    struct sandbox_functions *f = calloc(1, sizeof *f);
    if (!f)
        return SQLITE_NOMEM;
    int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS;
    f->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    f->digest = EVP_MD_CTX_new();
    int rc = f->sha256 && f->digest ? SQLITE_OK : SQLITE_NOMEM;
    if (rc == SQLITE_OK)
        rc = sqlite3_create_function(db, "sha256", 1, flags, f, sha256, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_create_function(db, "sha256_once", 1, flags, f, sha256_once, NULL, NULL);
    for (size_t i = 0; i < 2 * NORMALIZERS && rc == SQLITE_OK; i++) {
        f->calls[i] = (struct call){f, &normalizers[i / 2], i % 2};
        rc = add_normalizer(db, &f->calls[i], flags);
    }
    *ret = f;
    return rc;
}

struct sandbox_functions *
sandbox_functions_close(struct sandbox_functions *f)
{
    if (!f)
        return NULL;
    buf_done(&f->out);
    EVP_MD_CTX_free(f->digest);
    EVP_MD_free(f->sha256);
    free(f);
    return NULL;
}

bool
sandbox_functions_have(const char *name)
{
    if (strcmp(name, "sha256") == 0 || strcmp(name, "sha256_once") == 0)
        return true;
    if (strncmp(name, "try_", 4) == 0)
        name += 4;
    for (size_t i = 0; i < NORMALIZERS; i++)
        if (strcmp(name, normalizers[i].name) == 0)
            return true;
    return false;
}
