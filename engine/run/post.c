/* Sending by calls: see post.h. */
#include "run/post.h"

#include <openssl/evp.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "calls/courier.h"
#include "run/journal.h"
#include "run/requests.h"

enum { IDENTITY_BYTES = 32 };
static const struct backoff patience = {
    .base = 500000, .cap = 60 * 1000000LL, .budget = 600 * 1000000LL};

struct post {
    struct post_settings set;
    struct courier *courier;
    struct call_paces paces;
    EVP_MD_CTX *digest;
    atomic_bool abandoned;
    struct requests *requests;
    const struct call_answer *answer; /* at hand; NULL: none */
    struct arena words;               /* its, without secrets */
};

/* A block, unpacked. */
struct bundle {
    struct parcel parcel;
    struct post *post;
    struct block *block;
    struct value *values;
    struct change *changes;
    unsigned char (*identities)[IDENTITY_BYTES];
};

/* courier's sending */
static int
note_sending(void *arg, const struct change *changes, size_t n, struct error *err)
{
    struct post *p = arg;
    return journal_sending(p->set.journal, changes, n, err);
}

/* courier's keep */
static int
keep_notes(void *arg, struct error *err)
{
    struct post *p = arg;
    return journal_keep(p->set.journal, err);
}

/* ---- answers ---- */

static const char *
without_secrets(struct post *p, const char *words)
{
    AUTO_BUF struct buf out = BUF_INIT(BUF_NO_MAX);
    const struct transcript *t = p->answer->transcript;
    if (!words)
        return NULL;
    redact(p->set.sender->redactor, t ? t->secrets : NULL, str_of(words), &out);
    if (!out.failed && out.n == strlen(words) && memcmp(buf_z(&out), words, out.n) == 0)
        return words;
    const char *copy = out.failed ? NULL : arena_strndup(&p->words, buf_z(&out), out.n);
    return copy ? copy : "(not told: out of memory)";
}

/* courier's answered: what the peer says is told to many from here on. */
static void
take_answer(void *arg, struct call_answer *a)
{
    struct post *p = arg;
    p->answer = a;
    arena_clear(&p->words);
    if (a) {
        const struct transcript *t = a->transcript;
        redact_error(p->set.sender->redactor, t ? t->secrets : NULL, &a->error);
        for (size_t i = 0; i < a->call->batch.n; i++) {
            struct outcome *out = &a->call->out[i];
            out->code = without_secrets(p, out->code);
            out->why = without_secrets(p, out->why);
        }
    }
    requests_answered(p->requests, a);
    struct proof ignored;
    if (a && (a->fate == CALL_HOPELESS || a->fate == CALL_DENIED)) /* it may end the run */
        requests_prove(p->requests, &ignored);
}

/* Where the evidence on these rows stands, if they were not delivered, of the first of them. */
static struct proof
prove(struct post *p, const struct change *changes, const struct outcome *out, size_t n)
{
    struct proof proof = {0};
    bool delivered = true;
    for (size_t i = 0; i < n; i++)
        delivered = delivered && (out[i].kind == ROW_DONE || out[i].kind == ROW_UNCHANGED);
    if (delivered || !p->answer)
        return proof;
    requests_prove(p->requests, &proof);
    proof.row = (uint64_t)(changes - p->answer->call->batch.changes);
    return proof;
}

/* courier's told */
static int
take_fate(void *arg, const struct change *changes, const struct outcome *out, size_t n,
          struct error *err)
{
    struct post *p = arg;
    struct proof proof = prove(p, changes, out, n);
    int rc = p->set.journal ? journal_told(p->set.journal, changes, out, n, &proof, err) : 0;
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n; i++, proof.row++)
        verdicts_keep_with(p->set.verdicts, changes[i].seq, &out[i], &proof);
    atomic_fetch_add_explicit(&p->set.sender->progress->sent, n, memory_order_relaxed);
    return 0;
}

int
post_create(const struct post_settings *settings, struct post **ret, struct error *err)
{
    struct post *p = calloc(1, sizeof *p);
    if (!p)
        return error_no_memory(err);
    p->set = *settings;
    const struct sender_settings *sender = settings->sender;
    bool paced = paces_get(sender->pace, &settings->limits, &p->paces);
    struct courier_settings courier = {
        .driver = sender->driver,
        .destination = sender->destination,
        .limits = settings->limits,
        .nfields = sender->meta->nfields,
        .paces = p->paces,
        .backoff = patience,
        .random = (uint64_t)clock_monotonic(),
        .refused_before = sender->refused_before,
        .cancelled = sender->cancelled,
        .abandoned = &p->abandoned,
        .sending = settings->journal ? note_sending : NULL,
        .answered = take_answer,
        .keep = settings->journal ? keep_notes : NULL,
        .told = take_fate,
        .arg = p,
    };
    p->digest = EVP_MD_CTX_new();
    p->requests = requests_create(&sender->requests);
    p->courier = paced && p->digest && p->requests ? courier_create(&courier) : NULL;
    if (!p->courier) {
        post_free(p);
        return error_no_memory(err);
    }
    *ret = p;
    return 0;
}

/* ---- blocks ---- */

static void
bundle_free(struct bundle *b)
{
    if (!b)
        return;
    free(b->values);
    free(b->changes);
    free(b->identities);
    free(b);
}

/* parcel's done */
static void
give_back(void *arg, struct parcel *parcel)
{
    struct bundle *b = arg;
    queue_recycle(b->post->set.queue, b->block);
    bundle_free(b);
}

static bool
add(EVP_MD_CTX *digest, const void *p, size_t n)
{
    uint64_t length = n;
    return EVP_DigestUpdate(digest, &length, sizeof length) == 1 &&
           EVP_DigestUpdate(digest, p ? p : "", n) == 1;
}

/* The same change of the same sync has the same name whenever it is sent: what it is, of which
 * record, from what to what, and when it became due. */
static bool
identify(const struct post *p, const struct change *c, struct due due,
         unsigned char out[IDENTITY_BYTES])
{
    const struct sender_settings *sender = p->set.sender;
    const struct chg_meta *meta = sender->meta;
    bool good = EVP_DigestInit_ex(p->digest, EVP_sha256(), NULL) == 1 &&
                add(p->digest, sender->uid, strlen(sender->uid)) &&
                add(p->digest, &due.run, sizeof due.run) &&
                add(p->digest, &due.copy, sizeof due.copy) &&
                add(p->digest, &c->op, sizeof c->op) &&
                add(p->digest, c->before.p, c->before.n);
    for (size_t i = 0; good && i < meta->nkey; i++)
        good = add(p->digest, c->key[i].p, c->key[i].n);
    for (size_t i = 0; good && c->after && i < meta->nfields; i++)
        good = add(p->digest, &c->after[i].type, 1) &&
               add(p->digest, c->after[i].p, c->after[i].n);
    unsigned n = 0;
    return good && EVP_DigestFinal_ex(p->digest, out, &n) == 1;
}

static int
unpack_block(struct bundle *b, struct error *err)
{
    struct post *p = b->post;
    size_t step = p->set.values_a_change, rows = b->block->rows;
    b->values = calloc(rows * step + 1, sizeof *b->values);
    b->changes = calloc(rows + 1, sizeof *b->changes);
    b->identities = calloc(rows + 1, sizeof *b->identities);
    if (!b->values || !b->changes || !b->identities)
        return error_no_memory(err);
    const char *at = b->block->data.p, *end = at + b->block->data.n;
    size_t n = 0;
    for (size_t i = 0; i < rows; i++) {
        struct change *c = &b->changes[n];
        struct due due;
        if (!p->set.unpack(p->set.arg, &at, end, b->values + i * step, c, &due))
            return error_set(err, ERR_INTERNAL, EIO,
                             "a change between comparing and sending is damaged");
        if (c->op == OP_PRESENT) /* nobody can be asked what is foreign */
            continue;
        if (p->set.limits.identities && !identify(p, c, due, b->identities[n]))
            return error_no_memory(err);
        n++;
    }
    b->parcel = (struct parcel){.changes = b->changes,
                                .identities = (const unsigned char(*)[32])b->identities,
                                .n = n,
                                .done = give_back,
                                .arg = b};
    return 0;
}

static int
take_block(struct post *p, struct block *block, struct error *err)
{
    struct bundle *b = calloc(1, sizeof *b);
    if (!b) {
        queue_recycle(p->set.queue, block);
        return error_no_memory(err);
    }
    b->post = p;
    b->block = block;
    int rc = unpack_block(b, err);
    if (rc < 0) {
        give_back(b, NULL);
        return rc;
    }
    return courier_add(p->courier, &b->parcel, err);
}

int
post_run(struct post *p, struct error *err)
{
    int rc = 0;
    while (rc == 0 && !atomic_load(&p->abandoned)) {
        bool ended = false;
        struct block *block = courier_active(p->courier) ? queue_try(p->set.queue, &ended)
                                                         : queue_get(p->set.queue);
        if (block)
            rc = take_block(p, block, err);
        else if (courier_active(p->courier) && !ended)
            rc = courier_wait(p->courier, err);
        else
            break;
    }
    return rc == 0 ? courier_drain(p->courier, err) : rc;
}

void
post_wake(struct post *p)
{
    const struct sender_settings *sender = p->set.sender;
    if (sender->driver->dest_wake)
        sender->driver->dest_wake(sender->destination);
}

void
post_abandon(struct post *p)
{
    atomic_store(&p->abandoned, true);
    post_wake(p);
}

const struct error *
post_stopped(const struct post *p)
{
    return courier_stopped(p->courier);
}

struct post *
post_free(struct post *p)
{
    if (!p)
        return NULL;
    courier_free(p->courier);
    paces_put(&p->paces);
    requests_free(p->requests);
    arena_done(&p->words);
    EVP_MD_CTX_free(p->digest);
    free(p);
    return NULL;
}
