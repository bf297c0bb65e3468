/* Who calls: see auth.h. */
#include "http/auth.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/json_parse.h"
#include "http/connector.h"
#include "http/fill.h"
#include "http/manifest.h"
#include "http/sign.h"
#include "http/token.h"
#include "http/wipe.h"

enum { AUTHS_MAX = 8, FORM_MAX = 8, SECRET_MAX = 64 * 1024 };

enum scheme { SCHEME_BASIC, SCHEME_BEARER, SCHEME_OAUTH2 };
static const char *const schemes[] = {
    [SCHEME_BASIC] = "basic", [SCHEME_BEARER] = "bearer", [SCHEME_OAUTH2] = "oauth2"};
static const char *const grants[] = {[TOKEN_REFRESH] = "refresh_token",
                                     [TOKEN_CLIENT] = "client_credentials",
                                     [TOKEN_JWT] = "jwt",
                                     [TOKEN_PASSWORD] = "password"};

/* Members that are texts. */
enum member {
    M_USER,
    M_PASSWORD,
    M_TOKEN,
    M_TOKEN_URL,
    M_CLIENT_ID,
    M_CLIENT_SECRET,
    M_SCOPE,
    M_REFRESH_TOKEN,
    M_USERNAME,
    M_PRIVATE_KEY,
    M_KEY_ID,
    M_ISSUER,
    M_AUDIENCE,
    MEMBERS
};
static const char *const member_names[MEMBERS] = {
    [M_USER] = "user",           [M_PASSWORD] = "password",
    [M_TOKEN] = "token",         [M_TOKEN_URL] = "token_url",
    [M_CLIENT_ID] = "client_id", [M_CLIENT_SECRET] = "client_secret",
    [M_SCOPE] = "scope",         [M_REFRESH_TOKEN] = "refresh_token",
    [M_USERNAME] = "username",   [M_PRIVATE_KEY] = "private_key",
    [M_KEY_ID] = "key_id",       [M_ISSUER] = "issuer",
    [M_AUDIENCE] = "audience",
};
#define M(name) (1u << M_##name)

struct auth {
    enum scheme scheme;
    char *texts[MEMBERS];            /* NULL: not there */
    char *form[2 * FORM_MAX + 1];    /* names (not owned) and values by turns */
    struct token_credentials of_api; /* SCHEME_OAUTH2 */
    struct token *token;
    struct token_lease lease;
    json_t *told;  /* the lease's */
    uint64_t read; /* the number of the lease that `told` is of */
};

/* ---- what a manifest says ---- */

/* One way to be known. */
struct way_in {
    const json_t *json;
    enum scheme scheme;
    enum token_grant grant;
    bool basic;
};

/* Without which credentials are none. */
static unsigned
needed(const struct way_in *w)
{
    static const unsigned of_grant[] = {
        [TOKEN_REFRESH] = M(TOKEN_URL) | M(REFRESH_TOKEN),
        [TOKEN_CLIENT] = M(TOKEN_URL) | M(CLIENT_ID) | M(CLIENT_SECRET),
        [TOKEN_JWT] = M(TOKEN_URL) | M(PRIVATE_KEY),
        [TOKEN_PASSWORD] = M(TOKEN_URL) | M(USERNAME) | M(PASSWORD),
    };
    if (w->scheme == SCHEME_OAUTH2)
        return of_grant[w->grant];
    return w->scheme == SCHEME_BASIC ? M(USER) | M(PASSWORD) : M(TOKEN);
}

static unsigned
allowed(const struct way_in *w)
{
    unsigned all = (1u << MEMBERS) - 1;
    return w->scheme == SCHEME_OAUTH2 ? all & ~(M(USER) | M(TOKEN)) : needed(w);
}

static int
read_way(const json_t *json, const char *where, struct way_in *ret, struct error *err)
{
    int scheme = -1, grant = -1;
    *ret = (struct way_in){.json = json};
    if (!json_is_object(json))
        return manifest_wrong(err, where, "must be an object");
    int rc = manifest_word(json, where, "scheme", schemes, 3, &scheme, err);
    if (rc == 0 && scheme < 0)
        rc = manifest_wrong(err, where, "wants a \"scheme\": basic, bearer or oauth2");
    if (rc == 0)
        rc = manifest_word(json, where, "grant", grants, 4, &grant, err);
    if (rc == 0 && (scheme == SCHEME_OAUTH2) != (grant >= 0))
        rc = manifest_wrong(err, where,
                            "oauth2, and nothing else, wants a \"grant\": refresh_token, "
                            "client_credentials, jwt or password");
    if (rc == 0)
        rc = manifest_bool(json, where, "basic", &ret->basic, err);
    ret->scheme = (enum scheme)scheme;
    ret->grant = grant < 0 ? TOKEN_REFRESH : (enum token_grant)grant;
    return rc;
}

static int
check_template(const char *text, const char *where, const struct connector *c,
               struct error *err)
{
    unsigned names = 0;
    int rc = text ? fill_check(text, where, c, &names, err)
                  : manifest_wrong(err, where, "must be a string");
    return rc == 0 && names ? manifest_wrong(err, where, "may name options only") : rc;
}

static int
check_form(const json_t *form, const char *where, const struct connector *c, struct error *err)
{
    const char *name;
    json_t *value;
    int rc = 0;
    if (form && (!json_is_object(form) || json_object_size(form) > FORM_MAX))
        return manifest_wrong(err, where, "\"form\" must be an object of at most 8 texts");
    json_object_foreach((json_t *)(uintptr_t)form, name, value)
    {
        if (rc == 0)
            rc = check_template(json_string_value(value), where, c, err);
    }
    return rc;
}

static int
check_way(const json_t *json, const char *where, const struct connector *c, bool *token,
          struct error *err)
{
    const char *known[MEMBERS + 6] = {"scheme", "when"};
    size_t n = 2;
    struct way_in w;
    int rc = read_way(json, where, &w, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < MEMBERS; i++) {
        const char *name = member_names[i];
        if (allowed(&w) & 1u << i)
            known[n++] = name;
        if (needed(&w) & 1u << i && !json_object_get(json, name))
            return error_set(err, ERR_CONFIG, EINVAL, "%s: wants \"%s\"", where, name);
    }
    if (w.scheme == SCHEME_OAUTH2) {
        known[n++] = "grant";
        known[n++] = "basic";
        known[n++] = "form";
        *token = true;
    }
    rc = manifest_members(json, where, known, err);
    for (size_t i = 0; rc == 0 && i < MEMBERS; i++) {
        const json_t *text = json_object_get(json, member_names[i]);
        rc = text ? check_template(json_string_value(text), where, c, err) : 0;
    }
    if (rc == 0)
        rc = connector_check_when(c, json_object_get(json, "when"), where, err);
    return rc == 0 ? check_form(json_object_get(json, "form"), where, c, err) : rc;
}

int
auth_check(const json_t *auth, const struct connector *c, bool *token, struct error *err)
{
    *token = false;
    if (!auth)
        return 0;
    if (!json_is_array(auth))
        return check_way(auth, "/auth", c, token, err);
    if (json_array_size(auth) == 0 || json_array_size(auth) > AUTHS_MAX)
        return manifest_wrong(err, "/auth", "must be an object or an array of one to 8");
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < json_array_size(auth); i++) {
        char where[32];
        snprintf(where, sizeof where, "/auth/%zu", i);
        rc = check_way(json_array_get(auth, i), where, c, token, err);
    }
    return rc;
}

/* ---- credentials ---- */

static char *
wipe_text(char *text)
{
    if (text)
        OPENSSL_cleanse(text, strlen(text));
    free(text);
    return NULL;
}

/* *ret: NULL when it names what is not set. */
static int
expand(const char *template, const struct fill_values *v, char **ret, struct error *err)
{
    AUTO_WIPE struct buf text;
    wipe_init(&text, SECRET_MAX);
    int rc = fill_plain(template, v, &text, err);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    *ret = strndup(buf_z(&text), text.n);
    return *ret ? 0 : error_no_memory(err);
}

static int
take_texts(struct auth *a, const struct way_in *w, const struct fill_values *v,
           struct error *err)
{
    int rc = 0;
    size_t n = 0;
    for (size_t i = 0; rc == 0 && i < MEMBERS; i++) {
        const char *text = json_string_value(json_object_get(w->json, member_names[i]));
        rc = text ? expand(text, v, &a->texts[i], err) : 0;
    }
    const char *name;
    json_t *value;
    json_object_foreach(json_object_get(w->json, "form"), name, value)
    {
        if (rc == 0)
            rc = expand(json_string_value(value), v, &a->form[n + 1], err);
        if (rc == 0 && a->form[n + 1]) {
            a->form[n] = (char *)(uintptr_t)name;
            n += 2;
        }
    }
    return rc;
}

static int
open_token(struct auth *a, const struct way_in *w, struct error *err)
{
    char **t = a->texts;
    a->of_api = (struct token_credentials){
        .url = t[M_TOKEN_URL],
        .grant = w->grant,
        .client_id = t[M_CLIENT_ID],
        .client_secret = t[M_CLIENT_SECRET],
        .basic = w->basic,
        .extra = (const char *const *)a->form,
        .scope = t[M_SCOPE],
        .refresh_token = t[M_REFRESH_TOKEN],
        .username = t[M_USERNAME],
        .password = t[M_PASSWORD],
        .private_key = t[M_PRIVATE_KEY],
        .key_id = t[M_KEY_ID],
        .issuer = t[M_ISSUER],
        .audience = t[M_AUDIENCE],
    };
    return token_open(&a->of_api, &a->token, err);
}

/* 1: taken; 0: something is missing, which is added to the words. */
static int
try_way(const struct way_in *w, const struct fill_values *v, struct auth **ret,
        struct buf *words, struct error *err)
{
    struct auth *a = calloc(1, sizeof *a);
    if (!a)
        return error_no_memory(err);
    a->scheme = w->scheme;
    a->read = UINT64_MAX;
    int rc = take_texts(a, w, v, err);
    unsigned missing = 0;
    for (size_t i = 0; rc == 0 && i < MEMBERS; i++)
        missing |= needed(w) & 1u << i && !a->texts[i] ? 1u << i : 0;
    if (rc == 0 && !missing && w->scheme == SCHEME_OAUTH2)
        rc = open_token(a, w, err);
    if (rc == 0 && !missing) {
        *ret = a;
        return 1;
    }
    buf_adds(words, words->n ? ", or " : "");
    for (size_t i = 0, n = 0; i < MEMBERS; i++)
        if (missing & 1u << i)
            buf_addf(words, "%s%s", n++ ? " and " : "",
                     json_string_value(json_object_get(w->json, member_names[i])));
    auth_close(a);
    return rc;
}

int
auth_open(const struct connector *c, const struct connector_use *use, struct auth **ret,
          struct error *err)
{
    const struct fill_values v = {.connector = c, .use = *use};
    bool many = json_is_array(c->auth);
    size_t n = many ? json_array_size(c->auth) : c->auth ? 1 : 0;
    AUTO_BUF struct buf words = BUF_INIT(1024);
    int rc = 0;
    bool wanted = false;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        const json_t *json = many ? json_array_get(c->auth, i) : c->auth;
        struct way_in w;
        rc = read_way(json, "/auth", &w, err);
        bool holds = rc == 0 && connector_fits(c, json_object_get(json, "when"), use);
        wanted = wanted || holds;
        if (holds)
            rc = try_way(&w, &v, ret, &words, err);
    }
    if (rc == 0 && wanted)
        return error_set(err, ERR_AUTH, EACCES, "no credentials: the connection must set %s",
                         words.n ? buf_z(&words) : "how it is known");
    return rc < 0 ? rc : 0;
}

struct auth *
auth_close(struct auth *a)
{
    if (!a)
        return NULL;
    token_close(a->token);
    token_lease_done(&a->lease);
    json_decref(a->told);
    for (size_t i = 0; i < MEMBERS; i++)
        wipe_text(a->texts[i]);
    for (size_t i = 1; i < sizeof a->form / sizeof *a->form; i += 2)
        wipe_text(a->form[i]);
    free(a);
    return NULL;
}

/* ---- in use ---- */

static int
take_lease(struct auth *a, const atomic_bool *cancelled, struct error *err)
{
    int rc = token_get(a->token, cancelled, &a->lease, err);
    if (rc < 0 || a->read == a->lease.number)
        return rc;
    json_decref(a->told);
    a->told = json_parse(buf_str(&a->lease.told), 0, NULL, NULL);
    a->read = a->lease.number;
    return a->told ? 0 : error_no_memory(err);
}

static void
add_basic(const struct auth *a, struct buf *line)
{
    AUTO_WIPE struct buf pair;
    wipe_init(&pair, strlen(a->texts[M_USER]) + strlen(a->texts[M_PASSWORD]) + 2);
    buf_addf(&pair, "%s:%s", a->texts[M_USER], a->texts[M_PASSWORD]);
    buf_adds(line, "Authorization: Basic ");
    sign_base64(line, buf_str(&pair));
    line->failed |= pair.failed;
}

int
auth_line(struct auth *a, const atomic_bool *cancelled, struct buf *line, struct error *err)
{
    int rc = 0;
    switch (a->scheme) {
    case SCHEME_BASIC:
        add_basic(a, line);
        break;
    case SCHEME_BEARER:
        buf_addf(line, "Authorization: Bearer %s", a->texts[M_TOKEN]);
        break;
    case SCHEME_OAUTH2:
        rc = take_lease(a, cancelled, err);
        if (rc == 0)
            buf_addf(line, "Authorization: Bearer %s", buf_z(&a->lease.access));
        break;
    }
    return rc == 0 && line->failed ? error_no_memory(err) : rc;
}

uint64_t
auth_token(const struct auth *a)
{
    return a->lease.number;
}

const json_t *
auth_told(const struct auth *a)
{
    return a->told;
}

void
auth_refused(struct auth *a, uint64_t token)
{
    const struct token_lease lease = {.number = token};
    if (a->token)
        token_refused(a->token, &lease);
}

bool
auth_may_go(const struct auth *a, const char *url)
{
    return !a->token || strncasecmp(a->of_api.url, "https://", 8) != 0 ||
           strncasecmp(url, "https://", 8) == 0;
}
