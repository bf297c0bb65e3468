/*
 * OAuth 2 access tokens: see token.h.
 *
 * A token is fetched over a transfer of its own, for the time of one request, not over its
 * caller's: others wait for the same token, and it must not end with the calls of one of them,
 * nor do calls that are under way come between. Only the one who fetches holds it, so its
 * cancelling cancels nobody else.
 *
 * Locks: the registry's and a shared's are leaves, and not held while the server is asked.
 *
 * What is kept here is wiped before it is freed; what libcurl and jansson copy for themselves
 * on the way is not.
 */
#include "http/token.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json_parse.h"
#include "http/form.h"
#include "http/sign.h"
#include "http/transfer.h"
#include "http/wipe.h"

enum {
    UNUSED_MAX = 64, /* shared states without a user that are remembered */
    HASH = 32,
    REQUEST_MAX = 64 * 1024,
    ANSWER_MAX = 64 * 1024,
    TOKEN_MAX = 16 * 1024,
    WORDS_MAX = 500,
    LOOK_US = 100000,         /* at *cancelled */
    PATIENCE_US = 30000000,   /* for an answer */
    MARGIN_US = 300000000,    /* before the end a token is renewed, or a tenth of its life… */
    AGAIN_US = 10000000,      /* …and if that fails, tried again while it is still good */
    LIFE_MAX_S = 366 * 86400, /* what is said to live longer is renewed after that */
    ASSERTION_S = 180,        /* a JWT's life: Salesforce allows a few minutes */
};

/* What the users of the same credentials share. The token itself is between `lock`s; `refresh`
 * is the fetcher's alone. */
struct shared {
    struct shared *next; /* these three: the registry's */
    unsigned users;
    unsigned char hash[HASH];

    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool fetching;
    uint64_t fetches;         /* that have ended */
    uint64_t fetched, failed; /* the last that brought a token, that did not */
    struct error failure;
    struct buf access, told; /* access.n = 0: none */
    usec_t renew, expires;   /* clock_now(): it goes on while the machine sleeps */
    struct buf refresh;      /* the refresh token in force; n = 0: the credentials' */
};

struct token {
    const struct token_credentials *c;
    struct shared *shared;
};

/* Last used first. Handles do not know of each other, so what they share is the process's. */
static struct {
    pthread_mutex_t lock;
    struct shared *first;
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- who shares ---- */

static bool
hash_text(EVP_MD_CTX *c, const char *text)
{
    uint64_t n = text ? strlen(text) : UINT64_MAX; /* no text is none that is empty */
    return EVP_DigestUpdate(c, &n, sizeof n) && (!text || EVP_DigestUpdate(c, text, (size_t)n));
}

/* Of all that the server is told. */
static int
hash_credentials(const struct token_credentials *c, unsigned char ret[HASH], struct error *err)
{
    const char *const texts[] = {c->url,      c->client_id, c->client_secret, c->scope,
                                 c->username, c->password,  c->refresh_token, c->private_key,
                                 c->key_id,   c->issuer,    c->audience};
    const unsigned char how[] = {(unsigned char)c->grant, c->basic};
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool good = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) &&
                EVP_DigestUpdate(md, how, sizeof how);
    for (size_t i = 0; good && i < sizeof texts / sizeof *texts; i++)
        good = hash_text(md, texts[i]);
    for (const char *const *extra = c->extra; good && extra && *extra; extra++)
        good = hash_text(md, *extra);
    good = good && EVP_DigestFinal_ex(md, ret, NULL);
    EVP_MD_CTX_free(md);
    return good ? 0 : error_no_memory(err);
}

static struct shared *
shared_create(const unsigned char hash[HASH])
{
    struct shared *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    memcpy(s->hash, hash, HASH);
    clock_cond_init(&s->ended);
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

static void
shared_free(struct shared *s)
{
    wipe_done(&s->access);
    wipe_done(&s->refresh);
    wipe_done(&s->told);
    pthread_cond_destroy(&s->ended);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* Of those nobody uses the ones used last are kept. */
static void
forget_some(void)
{
    unsigned unused = 0;
    for (struct shared **at = &registry.first; *at;) {
        struct shared *s = *at;
        if (s->users == 0 && ++unused > UNUSED_MAX) {
            *at = s->next;
            shared_free(s);
        } else {
            at = &s->next;
        }
    }
}

static struct shared *
find(const unsigned char hash[HASH])
{
    struct shared *s = registry.first;
    while (s && memcmp(s->hash, hash, HASH) != 0)
        s = s->next;
    return s;
}

static void
take_out(const struct shared *s)
{
    struct shared **at = &registry.first;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
}

static void
put_first(struct shared *s)
{
    s->next = registry.first;
    registry.first = s;
    forget_some();
}

/* NULL when memory is out. */
static struct shared *
join(const unsigned char hash[HASH])
{
    pthread_mutex_lock(&registry.lock);
    struct shared *s = find(hash);
    if (s)
        take_out(s);
    else
        s = shared_create(hash);
    if (s) {
        s->users++;
        put_first(s);
    }
    pthread_mutex_unlock(&registry.lock);
    return s;
}

static void
leave(struct shared *s)
{
    pthread_mutex_lock(&registry.lock);
    take_out(s);
    s->users--;
    put_first(s);
    pthread_mutex_unlock(&registry.lock);
}

/* ---- opening ---- */

static bool
is_secure(struct str url)
{
    return url.n > 8 && strncasecmp(url.p, "https://", 8) == 0;
}

static bool
is_plain(struct str url)
{
    return url.n > 7 && strncasecmp(url.p, "http://", 7) == 0;
}

static int
missing(struct error *err, const char *what)
{
    return error_set(err, ERR_CONFIG, EINVAL, "a token of this grant needs a %s", what);
}

static int
check(const struct token_credentials *c, struct error *err)
{
    struct str url = str_of(c->url);
    if (!is_secure(url) && !is_plain(url))
        return missing(err, "token URL, of https or http");
    const char *host = strstr(c->url, "://") + 3;
    if (memchr(host, '@', strcspn(host, "/?#")))
        return error_set(err, ERR_CONFIG, EINVAL, "the token URL has a user in it");
    if (c->basic && !(c->client_id && c->client_secret))
        return missing(err, "client id and secret");
    switch (c->grant) {
    case TOKEN_REFRESH:
        return c->refresh_token ? 0 : missing(err, "refresh token");
    case TOKEN_CLIENT:
        return c->client_id ? 0 : missing(err, "client id");
    case TOKEN_PASSWORD:
        return c->username && c->password ? 0 : missing(err, "username and password");
    case TOKEN_JWT:
        if (!c->private_key)
            return missing(err, "private key");
        return c->issuer || c->client_id ? 0 : missing(err, "client id");
    }
    return missing(err, "grant");
}

int
token_open(const struct token_credentials *credentials, struct token **ret, struct error *err)
{
    unsigned char hash[HASH];
    int rc = check(credentials, err);
    if (rc == 0)
        rc = hash_credentials(credentials, hash, err);
    if (rc < 0)
        return rc;
    struct token *t = calloc(1, sizeof *t);
    if (!t)
        return error_no_memory(err);
    t->c = credentials;
    t->shared = join(hash);
    if (!t->shared) {
        free(t);
        return error_no_memory(err);
    }
    *ret = t;
    return 0;
}

struct token *
token_close(struct token *t)
{
    if (t)
        leave(t->shared);
    free(t);
    return NULL;
}

/* ---- the request ---- */

/* Of one fetch. */
struct fetch {
    const struct token_credentials *c;
    struct str refresh; /* the token to be sent */
    struct buf body, authorization;
    struct str assertion, basic; /* in them */
    struct transfer *transfer;
    struct exchange x;
    json_t *answer;

    /* what it brings; borrowed from `answer` */
    struct str access, next_refresh;
    usec_t life; /* 0: nobody said */
};

static void
add_text(struct fetch *f, const char *name, const char *value)
{
    if (value)
        form_add(&f->body, name, str_of(value));
}

/* The JWT that stands for client and user (RFC 7523 section 3). */
static int
add_assertion(struct fetch *f, struct error *err)
{
    const struct token_credentials *c = f->c;
    json_int_t now = clock_now() / 1000000;
    json_auto_t *header =
        json_pack("{s:s, s:s, s:s*}", "alg", "RS256", "typ", "JWT", "kid", c->key_id);
    json_auto_t *claims = json_pack("{s:s, s:s*, s:s, s:s*, s:I, s:I}", "iss",
                                    c->issuer ? c->issuer : c->client_id, "sub", c->username,
                                    "aud", c->audience ? c->audience : c->url, "scope",
                                    c->scope, "iat", now, "exp", now + ASSERTION_S);
    AUTO_FREE char *head = header ? json_write(header, JSON_COMPACT) : NULL;
    AUTO_FREE char *body = claims ? json_write(claims, JSON_COMPACT) : NULL;
    if (!head || !body)
        return error_set(err, ERR_CONFIG, EINVAL, "the claims of the token are no UTF-8");
    AUTO_WIPE struct buf jwt;
    wipe_init(&jwt, REQUEST_MAX);
    int rc = sign_jwt(str_of(head), str_of(body), str_of(c->private_key), &jwt, err);
    if (rc < 0)
        return rc;
    form_add(&f->body, "assertion", buf_str(&jwt));
    if (!f->body.failed) /* nothing in a JWT needs encoding */
        f->assertion = (struct str){f->body.p + f->body.n - jwt.n, jwt.n};
    return 0;
}

/* RFC 6749 section 2.3.1: both are encoded as in a form first. */
static void
add_basic(struct fetch *f)
{
    AUTO_WIPE struct buf pair;
    wipe_init(&pair, REQUEST_MAX / 2);
    form_encode(&pair, str_of(f->c->client_id));
    buf_addc(&pair, ':');
    form_encode(&pair, str_of(f->c->client_secret));
    buf_adds(&f->authorization, "Authorization: Basic ");
    size_t begin = f->authorization.n;
    sign_base64(&f->authorization, buf_str(&pair));
    f->authorization.failed = f->authorization.failed || pair.failed;
    if (!f->authorization.failed)
        f->basic = (struct str){f->authorization.p + begin, f->authorization.n - begin};
}

static int
make_request(struct fetch *f, struct error *err)
{
    static const char *const grants[] = {
        [TOKEN_REFRESH] = "refresh_token",
        [TOKEN_CLIENT] = "client_credentials",
        [TOKEN_JWT] = "urn:ietf:params:oauth:grant-type:jwt-bearer",
        [TOKEN_PASSWORD] = "password",
    };
    const struct token_credentials *c = f->c;
    bool jwt = c->grant == TOKEN_JWT;
    int rc = 0;
    add_text(f, "grant_type", grants[c->grant]);
    if (jwt)
        rc = add_assertion(f, err);
    else
        add_text(f, "scope", c->scope); /* of a JWT it is a claim */
    if (c->grant == TOKEN_REFRESH)
        form_add(&f->body, "refresh_token", f->refresh);
    if (c->grant == TOKEN_PASSWORD) {
        add_text(f, "username", c->username);
        add_text(f, "password", c->password);
    }
    if (c->basic) {
        add_basic(f);
    } else if (!jwt || c->client_secret) { /* of a JWT the client is the issuer */
        add_text(f, "client_id", c->client_id);
        add_text(f, "client_secret", c->client_secret);
    }
    for (const char *const *extra = c->extra; extra && extra[0] && extra[1]; extra += 2)
        add_text(f, extra[0], extra[1]);
    if (rc == 0 && (f->body.failed || f->authorization.failed))
        rc = f->body.full || f->authorization.full
                 ? error_set(err, ERR_CONFIG, EFBIG, "the credentials are too long")
                 : error_no_memory(err);
    return rc;
}

/* Makes the request, to its end. */
static int
ask(struct fetch *f, const atomic_bool *cancelled, struct error *err)
{
    const struct transfer_settings settings = {.parallel = 1,
                                               .connect = PATIENCE_US,
                                               .first_byte = PATIENCE_US,
                                               .whole = PATIENCE_US,
                                               .answer_max = ANSWER_MAX};
    const char *const headers[] = {"Content-Type: application/x-www-form-urlencoded",
                                   "Accept: application/json",
                                   f->c->basic ? buf_z(&f->authorization) : NULL, NULL};
    f->x = (struct exchange){
        .method = "POST", .url = f->c->url, .headers = headers, .body = buf_str(&f->body)};
    wipe_init(&f->x.body_back, ANSWER_MAX + 1);
    int rc = transfer_create(&settings, &f->transfer, err);
    if (rc == 0)
        rc = transfer_start(f->transfer, &f->x, err);
    while (rc == 0 && !transfer_wait(f->transfer, LOOK_US))
        rc = cancel_check(cancelled, err);
    f->x.headers = NULL;
    return rc;
}

/* ---- the answer ---- */

/* Puts "***" wherever the secret stands. */
static void
hide(struct buf *text, struct str secret)
{
    if (secret.n < 4) /* else nothing would be left of the words */
        return;
    for (char *p = text->p;
         (p = memmem(p, text->n - (size_t)(p - text->p), secret.p, secret.n));) {
        size_t after = text->n - (size_t)(p - text->p) - secret.n;
        memcpy(p, "***", 3);
        memmove(p + 3, p + secret.n, after + 1);
        text->n -= secret.n - 3;
        p += 3;
    }
}

/* What of the request the server might say back. */
static void
hide_secrets(const struct fetch *f, struct buf *words)
{
    const struct token_credentials *c = f->c;
    const struct str secrets[] = {f->refresh, str_of(c->client_secret), str_of(c->password),
                                  f->assertion, f->basic};
    for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++) {
        AUTO_WIPE struct buf encoded;
        wipe_init(&encoded, 3 * secrets[i].n + 1);
        form_encode(&encoded, secrets[i]);
        hide(words, buf_str(&encoded));
        hide(words, secrets[i]);
        if (encoded.failed)
            buf_clear(words);
    }
}

/* "error" and "error_description" (RFC 6749 section 5.2), or what others have instead. */
static void
read_words(const struct fetch *f, struct buf *words)
{
    static const char *const names[] = {"error", "error_description", "message"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const json_t *value = json_object_get(f->answer, names[i]);
        if (json_is_object(value)) /* {"error": {"message": …}} */
            value = json_object_get(value, "message");
        if (!json_is_string(value))
            continue;
        buf_adds(words, words->n > 0 ? ": " : "");
        buf_add(words, json_string_value(value), json_string_length(value));
    }
    if (words->failed)
        buf_clear(words);
    if (words->n > 0)
        hide_secrets(f, words);
}

static int
refused(const struct fetch *f, struct error *err)
{
    int status = f->x.status;
    bool later = status == 408 || status == 425 || status == 429 || status >= 500;
    bool denied = status == 400 || status == 401 || status == 403 || status < 300;
    enum error_kind kind = later ? ERR_UNREACHABLE : denied ? ERR_AUTH : ERR_REMOTE;
    AUTO_BUF struct buf words = BUF_INIT(2 * ANSWER_MAX);
    read_words(f, &words);
    return error_set(err, kind, denied ? EACCES : EIO,
                     "the token server answered HTTP %d%s%.*s", status, words.n > 0 ? ": " : "",
                     WORDS_MAX, buf_z(&words));
}

/* Nothing that could leave the line of a header, or hurt a URL. */
static bool
visible(struct str text)
{
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] <= ' ' || text.p[i] > '~')
            return false;
    return text.n <= TOKEN_MAX;
}

static struct str
member(const struct fetch *f, const char *name)
{
    const json_t *value = json_object_get(f->answer, name);
    return (struct str){json_string_value(value), json_string_length(value)};
}

/* Seconds, as a number or, of some servers, a string of digits. */
static usec_t
read_life(const json_t *value)
{
    double seconds = json_number_value(value);
    const char *text = json_string_value(value);
    for (; text && *text >= '0' && *text <= '9' && seconds < LIFE_MAX_S; text++)
        seconds = seconds * 10 + (*text - '0');
    if (!(seconds > 0) || (text && *text))
        return 0;
    return (usec_t)((seconds < LIFE_MAX_S ? seconds : LIFE_MAX_S) * 1e6);
}

static int
read_answer(struct fetch *f, struct error *err)
{
    const struct exchange *x = &f->x;
    if (x->end != END_ANSWERED)
        return error_set(err, x->end == END_BARRED ? ERR_CONFIG : ERR_UNREACHABLE, EIO,
                         "no answer from the token server: %s", x->why);
    bool no_memory = false;
    if (!x->cut)
        f->answer = json_parse(buf_str(&x->body_back), 0, NULL, &no_memory);
    if (no_memory)
        return error_no_memory(err);
    if (x->status < 200 || x->status > 299)
        return refused(f, err);
    f->access = member(f, "access_token");
    f->next_refresh = member(f, "refresh_token");
    f->life = read_life(json_object_get(f->answer, "expires_in"));
    if (f->access.n == 0 && json_object_get(f->answer, "error"))
        return refused(f, err);
    if (f->access.n == 0 || !visible(f->access) || f->next_refresh.n > TOKEN_MAX)
        return error_set(
            err, ERR_REMOTE, EIO,
            "the token server answered HTTP %d, but with no token that can be read", x->status);
    return 0;
}

static void
fetch_done(struct fetch *f)
{
    transfer_free(f->transfer);
    wipe_done(&f->x.body_back);
    exchange_done(&f->x);
    wipe_done(&f->body);
    wipe_done(&f->authorization);
    json_decref(f->answer);
}

/* ---- the shared token ---- */

static bool
copy(struct buf *to, struct str from)
{
    struct buf new;
    wipe_init(&new, from.n + 1);
    buf_add(&new, from.p ? from.p : "", from.n);
    if (new.failed)
        return false;
    wipe_done(to);
    *to = new;
    return true;
}

/* The answer but for what nobody else is to know. */
static bool
copy_told(struct buf *to, json_t *answer)
{
    static const char *const secrets[] = {"access_token", "refresh_token", "id_token"};
    for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++)
        json_object_del(answer, secrets[i]);
    char *dump = json_write(answer, JSON_COMPACT);
    bool good = dump && copy(to, str_of(dump));
    free(dump);
    return good;
}

/* What was fetched last is what is used next. What `f` borrows from its answer is gone then. */
static int
keep(struct shared *s, const struct fetch *f, struct error *err)
{
    if (!copy(&s->access, f->access) ||
        (f->next_refresh.n > 0 && !copy(&s->refresh, f->next_refresh)) ||
        !copy_told(&s->told, f->answer)) {
        wipe_done(&s->access);
        return error_no_memory(err);
    }
    usec_t now = clock_now(), tenth = f->life / 10;
    s->expires = f->life ? now + f->life : INT64_MAX;
    s->renew = f->life ? s->expires - (tenth < MARGIN_US ? tenth : MARGIN_US) : INT64_MAX;
    s->fetched = s->fetches;
    return 0;
}

/* Called with the lock, which is given up while the server is asked. */
static void
fetch(struct token *t, const atomic_bool *cancelled)
{
    struct shared *s = t->shared;
    struct error err = ERROR_INIT;
    struct fetch f = {.c = t->c, .refresh = buf_str(&s->refresh)};
    if (s->refresh.n == 0)
        f.refresh = str_of(t->c->refresh_token);
    s->fetching = true;
    pthread_mutex_unlock(&s->lock);
    wipe_init(&f.body, REQUEST_MAX);
    wipe_init(&f.authorization, REQUEST_MAX);
    int rc = make_request(&f, &err);
    if (rc == 0)
        rc = ask(&f, cancelled, &err);
    if (rc == 0)
        rc = read_answer(&f, &err);
    pthread_mutex_lock(&s->lock);
    s->fetching = false;
    s->fetches++;
    if (rc == 0)
        rc = keep(s, &f, &err);
    if (rc < 0 && err.kind != ERR_CANCELLED) {
        s->failed = s->fetches;
        s->failure = err;
        s->renew = clock_now() + AGAIN_US;
    }
    pthread_cond_broadcast(&s->ended);
    fetch_done(&f);
}

/* `since`: fetches that had ended when it was asked for; a newer token will do in any case. */
static bool
usable(const struct shared *s, uint64_t since)
{
    usec_t now = clock_now();
    return s->access.n > 0 && (s->fetched > since || (now < s->renew && now < s->expires));
}

int
token_get(struct token *t, const atomic_bool *cancelled, struct token_lease *ret,
          struct error *err)
{
    struct shared *s = t->shared;
    pthread_mutex_lock(&s->lock);
    uint64_t since = s->fetches;
    int rc = 0;
    while (rc == 0 && !usable(s, since)) {
        rc = cancel_check(cancelled, err);
        if (rc == 0 && s->failed > since) {
            *err = s->failure;
            rc = -err->errnum;
        } else if (rc == 0 && s->fetching) {
            clock_cond_wait(&s->ended, &s->lock, clock_monotonic() + LOOK_US);
        } else if (rc == 0) {
            fetch(t, cancelled);
        }
    }
    if (rc == 0 &&
        !(copy(&ret->access, buf_str(&s->access)) && copy(&ret->told, buf_str(&s->told))))
        rc = error_no_memory(err);
    ret->number = s->fetched;
    pthread_mutex_unlock(&s->lock);
    return rc;
}

/* By its number: some servers give the same token again. */
void
token_refused(struct token *t, const struct token_lease *lease)
{
    struct shared *s = t->shared;
    pthread_mutex_lock(&s->lock);
    if (s->fetched == lease->number)
        wipe_done(&s->access);
    pthread_mutex_unlock(&s->lock);
}

void
token_lease_done(struct token_lease *lease)
{
    wipe_done(&lease->access);
    wipe_done(&lease->told);
}
