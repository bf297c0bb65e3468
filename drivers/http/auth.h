/*
 * Who calls: a manifest's "auth", an object or an array of them, of which the first is used
 * that fits its "when" and whose credentials are set. Where no "when" fits, nobody is said to.
 *
 *   {"scheme": "basic", "user": T, "password": T}
 *   {"scheme": "bearer", "token": T}
 *   {"scheme": "oauth2", "grant": "refresh_token", "token_url": T, …}, where a grant needs
 *     "refresh_token":       "refresh_token"
 *     "client_credentials":  "client_id", "client_secret"
 *     "jwt":                 "client_id" (or "issuer"), "private_key"; "username" is its
 *                            subject, "audience" the token_url unless it is given, "key_id"
 *     "password":            "username", "password"
 *   and may have "client_id", "client_secret", "scope", "form": {"name": T} for what else the
 *   token server is told, and "basic": true, by which it is told client and secret as HTTP
 *   Basic authentication
 *
 * T is a text template of options; a member that names an option that is not set is not there.
 * The header Authorization says who calls. A token is shared by all who have the same
 * credentials, renewed before it expires and when an answer's fate is "denied" (see token.h);
 * {@token:/pointer} names what else the token server answered.
 */
#pragma once

#include <jansson.h>
#include <stdatomic.h>

#include "driver.h"

struct auth;
struct connector;
struct connector_use;

/* Whether it can be a manifest's "auth" (NULL: there is none). *token: {@token:…} has
 * something to name. -EINVAL. */
int auth_check(const json_t *auth, const struct connector *c, bool *token, struct error *err);
/* *ret stays NULL when the manifest has none. ERR_AUTH when credentials are missing. Asks
 * nobody. */
int auth_open(const struct connector *c, const struct connector_use *use, struct auth **ret,
              struct error *err);
struct auth *auth_close(struct auth *a); /* NULL-safe, returns NULL */

/* Appends the header's line, fetching a token if that is due: errors are token_get's. */
int auth_line(struct auth *a, const atomic_bool *cancelled, struct buf *line,
              struct error *err);
/* Which token the last line held, and what the server told beside it (NULL: nothing). */
uint64_t auth_token(const struct auth *a);
const json_t *auth_told(const struct auth *a);
/* The API refused that token. */
void auth_refused(struct auth *a, uint64_t token);
/* Whether the address may be told a token: what came by https does not leave in the clear. */
bool auth_may_go(const struct auth *a, const char *url);
