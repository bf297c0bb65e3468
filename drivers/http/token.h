/*
 * OAuth 2 access tokens (RFC 6749, RFC 7523). Whoever in this process uses the same credentials
 * shares one token: it is fetched once however many ask for it, renewed some time before it
 * expires, and fetched anew when the API has refused it.
 *
 * Shared state is known by a hash of the credentials and holds none of them; it outlives its
 * users, since some servers exchange the refresh token at each use: the one in force is then
 * known only here, and with this process's end it is lost.
 *
 * No error text holds a token or a secret, not even when the server's words do.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

enum token_grant {
    TOKEN_REFRESH,  /* refresh_token */
    TOKEN_CLIENT,   /* client_credentials */
    TOKEN_JWT,      /* urn:ietf:params:oauth:grant-type:jwt-bearer, RS256 */
    TOKEN_PASSWORD, /* password */
};

/* NULL: there is none. */
struct token_credentials {
    const char *url; /* the token endpoint; no user and password in it */
    enum token_grant grant;
    const char *client_id, *client_secret;
    bool basic;               /* both as HTTP Basic authentication, not in the form */
    const char *const *extra; /* of the form: names and values by turns, ended by NULL; no
                                 secrets */
    const char *scope;
    const char *refresh_token;       /* TOKEN_REFRESH */
    const char *username, *password; /* TOKEN_PASSWORD; username: TOKEN_JWT's subject */
    const char *private_key;         /* TOKEN_JWT: PEM, see sign_jwt */
    const char *key_id;              /* …the header's "kid" */
    const char *issuer;              /* …NULL: client_id */
    const char *audience;            /* …NULL: url */
};

struct token;

/* The credentials are borrowed until token_close. 0, ERR_CONFIG when something is missing, or
 * -ENOMEM. Asks nobody. */
int token_open(const struct token_credentials *credentials, struct token **ret,
               struct error *err);
struct token *token_close(struct token *t); /* NULL-safe, returns NULL */

/* A token to be used now. */
struct token_lease {
    struct buf access; /* visible ASCII, fit for a header */
    struct buf told;   /* the rest of the answer, a JSON object without any token */
    uint64_t number;   /* of the fetch that brought it */
};

#define TOKEN_LEASE_INIT                                                                       \
    {                                                                                          \
        .number = 0                                                                            \
    }

/*
 * Fills *ret (to be given to token_lease_done), fetching a token if there is none to be used;
 * who asks meanwhile waits for the same fetch, and shares its failure. Ends soon with
 * ERR_CANCELLED once *cancelled (may be NULL) is set: another one who waits then fetches.
 *
 *   ERR_AUTH         the credentials were refused: 400, 401, 403, or an error in a 2xx, with
 * the server's words ERR_UNREACHABLE  no whole answer, or 408, 425, 429, 5xx: later perhaps
 *   ERR_REMOTE       an answer that is none, or another status
 *   ERR_CONFIG       a URL or private key that is none
 */
int token_get(struct token *t, const atomic_bool *cancelled, struct token_lease *ret,
              struct error *err);
/* The API answered 401 to it: it is not given out again. If another one has taken its place
 * meanwhile, nothing happens. */
void token_refused(struct token *t, const struct token_lease *lease);
/* Wipes and frees; the lease may be filled again. */
void token_lease_done(struct token_lease *lease);
