/* Sending by calls: see post.h. */
#include "run/post.h"

#include <openssl/evp.h>
#include <stdlib.h>

#include "base/clock.h"
#include "calls/courier.h"
#include "run/journal.h"

enum { IDENTITY_BYTES = 32 };
static const struct backoff patience = {
    .base = 500000, .cap = 60 * 1000000LL, .budget = 600 * 1000000LL};

struct post {
    struct post_settings set;
    struct courier *courier;
    struct pace *pace;
    EVP_MD_CTX *digest;
    atomic_bool abandoned;
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

static int
no_memory(struct error *err)
{
    return error_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
}

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

/* courier's told */
static int
take_fate(void *arg, const struct change *changes, const struct outcome *out, size_t n,
          struct error *err)
{
    struct post *p = arg;
    int rc = p->set.journal ? journal_told(p->set.journal, changes, out, n, err) : 0;
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n; i++)
        verdicts_keep(p->set.verdicts, changes[i].seq, &out[i]);
    atomic_fetch_add_explicit(&p->set.sender->progress->sent, n, memory_order_relaxed);
    return 0;
}

int
post_create(const struct post_settings *settings, struct post **ret, struct error *err)
{
    struct post *p = calloc(1, sizeof *p);
    if (!p)
        return no_memory(err);
    p->set = *settings;
    const struct sender_settings *sender = settings->sender;
    if (settings->limits.nwindows > 0)
        p->pace = pace_get(sender->pace, settings->limits.windows, settings->limits.nwindows);
    else
        p->pace = pace_get(sender->pace, NULL, 0);
    const struct courier_settings courier = {
        .driver = sender->driver,
        .destination = sender->destination,
        .limits = settings->limits,
        .nfields = sender->meta->nfields,
        .pace = p->pace,
        .backoff = patience,
        .random = (uint64_t)clock_monotonic(),
        .cancelled = sender->cancelled,
        .abandoned = &p->abandoned,
        .sending = settings->journal ? note_sending : NULL,
        .keep = settings->journal ? keep_notes : NULL,
        .told = take_fate,
        .arg = p,
    };
    p->digest = EVP_MD_CTX_new();
    p->courier = p->pace && p->digest ? courier_create(&courier) : NULL;
    if (!p->courier) {
        post_free(p);
        return no_memory(err);
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
        return no_memory(err);
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
            return no_memory(err);
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
        return no_memory(err);
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
    pace_put(p->pace);
    EVP_MD_CTX_free(p->digest);
    free(p);
    return NULL;
}
