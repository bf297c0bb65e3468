/* The function behind the checksums: see intact.h. */
#include <endian.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <string.h>

#include "catalog/intact.h"

/* What it is and how long, then its bytes: ("a", "bc") is not ("ab", "c"), and NULL not "". */
static bool
add(EVP_MD_CTX *digest, sqlite3_value *value)
{
    int type = sqlite3_value_type(value);
    uint64_t head[2] = {htole64((uint64_t)type)};
    const void *bytes = NULL;
    size_t n = 0;
    if (type == SQLITE_INTEGER) {
        head[1] = htole64((uint64_t)sqlite3_value_int64(value));
    } else if (type != SQLITE_NULL) {
        bytes = sqlite3_value_blob(value);
        n = (size_t)sqlite3_value_bytes(value);
        head[1] = htole64(n);
    }
    return EVP_DigestUpdate(digest, head, sizeof head) == 1 &&
           (n == 0 || (bytes && EVP_DigestUpdate(digest, bytes, n) == 1));
}

/* checksum(x, …): the first 64 bits of the SHA-256 of all. */
static void
checksum(sqlite3_context *context, int n, sqlite3_value **args)
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    bool good = digest && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1;
    for (int i = 0; good && i < n; i++)
        good = add(digest, args[i]);
    good = good && EVP_DigestFinal_ex(digest, hash, NULL) == 1;
    EVP_MD_CTX_free(digest);
    if (!good) {
        sqlite3_result_error_nomem(context);
        return;
    }
    uint64_t sum;
    memcpy(&sum, hash, sizeof sum);
    sqlite3_result_int64(context, (int64_t)le64toh(sum));
}

int
checksum_define(sqlite3 *db)
{
    return sqlite3_create_function(db, "checksum", -1,
                                   SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS, NULL,
                                   checksum, NULL, NULL);
}
