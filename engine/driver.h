/*
 * The driver contract: all that a driver and the engine know of each other.
 *
 * A driver knows one system and nothing else. Retrying, back-off, rate limits, batching,
 * bisecting over HTTP, redaction, logging, state and counting are the engine's. A driver never
 * sleeps, logs, exits or touches the state directory. One `struct driver` a driver; a NULL hook
 * means "cannot". One thread at a time uses a handle, but for the *_cancel hooks, which any
 * thread may call at any time between open and close.
 *
 * A source:       source_open → source_describe → source_plan → source_read → source_close
 * A destination:  dest_open → dest_describe → dest_begin → dest_write… → [dest_survey →
 *                 dest_write(deletes)…] → dest_apply → dest_commit | dest_abort → dest_close
 *                 dest_resolve, on a fresh handle, tells whether a session was committed.
 *
 * All functions return 0 or a negative errno with *err set.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cancel.h"
#include "base/error.h"
#include "base/value.h"

/* ---- options: one table per place they are written; from it come defaults, unknown-key
 * errors, options.json and the manual ---- */

enum option_type {
    OPT_STRING, /* char *                                                    */
    OPT_BOOL,   /* bool                                                      */
    OPT_INT,    /* int64_t                                                   */
    OPT_ENUM,   /* char *, one of `choices` ("a|b|c")                        */
    OPT_CHAR,   /* char, written as a string of one ASCII character          */
    OPT_SECRET, /* char *; in the file {"env"|"file"|"command": …}, never plain */
    OPT_TYPES,  /* struct option_types: {"column": "integer", …}             */
    OPT_JSON,   /* char *: any JSON value, as compact text; NULL: unset      */
    OPT_FIELDS, /* struct option_fields *: {"field": one of `choices`, …}; NULL: unset */
    OPT_FIXED,  /* const char *: default_text itself; nobody writes it, its name is unknown */
};

enum option_flags {
    OPTION_REQUIRED = 1,
    OPTION_PATH = 2,   /* names a file or a glob on this machine */
    OPTION_PHRASE = 4, /* OPT_STRING, OPT_JSON of a destination: its texts name mapped fields in
                          braces, see base/phrase.h */
    OPTION_PLACE = 8,  /* of a destination: part of where rows go, as the object is; another
                          value is another destination */
};

struct option {
    const char *name; /* NULL ends the table */
    enum option_type type;
    unsigned flags;
    size_t offset;            /* of the member in the driver's struct */
    const char *default_text; /* as it would be written in JSON without quotes; NULL: unset */
    const char *choices;      /* OPT_ENUM and OPT_FIELDS only */
    const char *help;         /* one sentence, lower case, no period */
};

struct option_types {
    size_t n;
    const char **columns;
    enum value_type *types;
};

struct option_fields { /* mapped fields, each once */
    size_t n;
    const char **fields, **words;
};

/* ---- what a table, query or file holds ---- */

struct column {
    const char *name;
    enum value_type type; /* V_NULL: any, row by row */
    const char *native;   /* the system's own type name ("numeric(10,2)"), or NULL */
    bool not_null;        /* refuses NULL */
    bool has_default;     /* may be left out of an insert (default, identity, rowid) */
    bool generated;       /* cannot be written */
};

struct schema {
    struct column *columns; /* owned by the handle that described it, until it is closed */
    size_t n;
};

/* ---- sources ---- */

struct model {
    const char *sync;  /* its name: for application_name and the like */
    const char *table; /* one of table and query, or neither (file sources) */
    const char *query;
    const void *options; /* the driver's struct filled from source_options, or NULL */
    /* Opening ends within a second of its being set, with ERR_CANCELLED: there is no handle yet
     * to call source_cancel with. May be NULL; not looked at once it is open. */
    const atomic_bool *cancelled;
};

struct projection {
    const char *const *columns; /* the columns to read, each once, all in the schema */
    size_t n;
    const size_t *order; /* indices into columns: the identifier, in order of significance */
    const enum key_class *order_class; /* how the engine will compare each */
    size_t norder;
};

struct source_plan {
    bool ordered; /* rows come in key order (key_compare on key_add), NULLs anywhere;
                     true only if it costs no sort of the whole model */
    bool guessed; /* as far as was looked: then a broken order is nobody's fault, but the model
                     is read once more */
    int64_t rows; /* how many, exactly or about; -1 unknown */
    bool rows_exact;
};

/* Called for each row with projection.n values, borrowed until it returns. Non-zero stops the
 * read, which then returns that number with *err as the callee set it. */
typedef int (*source_row_fn)(void *arg, const struct value *values, struct error *err);

/* ---- destinations ---- */

/* What the destination's object is. */
enum sync_type {
    TYPE_RECORDS,  /* it holds records */
    TYPE_AUDIENCE, /* it is a list, and a record is a member */
    TYPE_EVENTS,   /* things that happen ("track"); to identify somebody is a record */
    SYNC_TYPES,
};

enum mode {
    MODE_UPSERT,
    MODE_INSERT,
    MODE_UPDATE,
    MODE_MIRROR,
    MODE_FULL,
    MODE_ADD,    /* members who entered are added, nobody is removed */
    MODE_REMOVE, /* members who left are removed, nobody is added */
    MODE_COUNT,
};
#define MODE_BIT(m) (1u << (m))
#define MODES_OF_RECORDS                                                                       \
    (MODE_BIT(MODE_UPSERT) | MODE_BIT(MODE_INSERT) | MODE_BIT(MODE_UPDATE) |                   \
     MODE_BIT(MODE_MIRROR) | MODE_BIT(MODE_FULL))
#define MODES_OF_AUDIENCES                                                                     \
    (MODE_BIT(MODE_ADD) | MODE_BIT(MODE_REMOVE) | MODE_BIT(MODE_MIRROR) | MODE_BIT(MODE_UPSERT))
#define MODES_OF_EVENTS (MODE_BIT(MODE_UPSERT) | MODE_BIT(MODE_INSERT) | MODE_BIT(MODE_FULL))
/* What a destination of tables can carry out. */
#define MODES_OF_TABLES MODES_OF_RECORDS

enum operation {
    OP_INSERT,  /* always create */
    OP_UPSERT,  /* create or update; of an audience: be it a member, with these fields */
    OP_UPDATE,  /* update what is there; no such record → ROW_REJECTED, code "no_match" */
    OP_DELETE,  /* remove by key, of an audience from the list; what is gone already is done */
    OP_PRESENT, /* nothing to send: the model holds this key, so a survey must not call it
                   foreign */
};

struct change {
    enum operation op;
    uint64_t seq;              /* this change's number in its session, ascending, from 0 */
    const struct value *after; /* nfields values; NULL for OP_DELETE and OP_PRESENT */
    const struct value *key;   /* nkey values: the identifier's fields */
    bool unsure;               /* nobody knows whether the record is still as `before` says */
    struct str before;         /* packed delivered record (record_unpack, nfields, V_ABSENT
                                  where it has no such field); n = 0 when there is none */
};

enum outcome_kind {                  /* zero is the honest default */
                    ROW_UNKNOWN = 0, /* cannot tell whether the peer applied it */
                    ROW_DONE,
                    ROW_UNCHANGED, /* applied, and nothing was different */
                    ROW_REJECTED,  /* would be refused again */
                    ROW_RETRY,     /* surely not applied; may be sent again */
                    ROW_STAGED, /* accepted; the verdict comes with dest_apply: done unless told
                                   there */
                    ROW_ABSENT, /* not sent, since a request before the call told that the peer
                                   has none: it goes on in a call that makes it */
};

struct outcome {
    enum outcome_kind kind;
    const char *code; /* the vendor's code ("23505"); static or borrowed until the next call */
    const char *why;  /* the vendor's words; likewise */
};

struct batch {
    const struct change *changes;
    size_t n;
    uint64_t number; /* stable over replays and restarts */
};

struct target {
    const char *sync;     /* its name, for application_name and comments */
    const char *sync_uid; /* stable over renames: the key of the marker row */
    const char *object;   /* table, list, topic …; NULL where the driver needs none */
    const void *options;  /* the driver's struct filled from dest_options, or NULL */
    enum sync_type type;
    enum mode mode;
    bool create;                 /* make the object if it is missing */
    const struct column *fields; /* mapped fields with the source's types: for creating it */
    size_t nfields;
    const size_t *key; /* indices into fields; nkey = 0 without identifier */
    size_t nkey;
    const char *event;  /* TYPE_EVENTS: the name of them all; NULL: each has its own… */
    size_t event_field; /* …in this field, an index into fields, never NULL */
    const atomic_bool *cancelled; /* as in struct model */
};

struct session {
    const char *token; /* stable identity of this session over restarts (sync, run) */
    bool full;         /* every row of the model will be offered */
    bool dry;          /* to see what would be: dest_survey may be asked, what is written is
                          to be applied to nothing, dest_apply is not called */
    bool careful;      /* a replay after ERR_REPLAY: find the guilty rows, do not be clever */
    bool survey;       /* dest_survey will be called: OP_PRESENT rows are offered too */
};

/* At most `calls` begin in any stretch of `length` microseconds. */
struct pace_window {
    uint64_t calls;
    int64_t length;
};

enum { PACE_WINDOWS_MAX = 4 };

/* What has windows of its own, instead of those of the account: an endpoint. */
struct pace_scope {
    const char *name; /* NULL: the account's hold */
    struct pace_window windows[PACE_WINDOWS_MAX];
    size_t nwindows;
};

/* Of calls of one operation. */
struct call_limits {
    size_t rows;     /* 0: what struct limits says holds */
    size_t bytes;    /* of its body, about */
    size_t overhead; /* bytes that each row has there beside its values, about */
    bool repeatable;
    struct pace_scope scope;
    bool prepared; /* a request comes before it (CALL_PREPARED), whose scope is `before` */
    bool makes;    /* what that does not find is made (ROW_ABSENT), in the scope `making` */
    struct pace_scope before, making;
};

struct limits {
    size_t rows;       /* in a batch, at most */
    size_t bytes;      /* of packed records in a batch, about */
    unsigned parallel; /* calls under way at once; of dest_write there is one */
    struct pace_window windows[PACE_WINDOWS_MAX]; /* of the account behind the connection */
    size_t nwindows;
    bool identities; /* dest_call looks at the changes' identities */
    bool repeatable; /* a call may come to the peer twice without harm: by its operation, or
                        since the peer knows a change again by its identity */
    struct call_limits of[OP_DELETE + 1]; /* of destinations of calls, by operation */
};

/* A row at the destination that the model does not hold: its key fields as the destination
 * writes them (nkey values, fit to be given back in change.key), and its mapped fields packed
 * (nfields, V_ABSENT allowed). Non-zero stops. */
typedef int (*dest_foreign_fn)(void *arg, const struct value *key, struct str record,
                               struct error *err);
/* The verdict for one staged row. */
typedef void (*dest_verdict_fn)(void *arg, uint64_t seq, const struct outcome *outcome);

enum dest_fate {
    FATE_UNKNOWN = 0,
    FATE_COMMITTED,
    FATE_NOT_COMMITTED, /* and never will be */
};

/* ---- destinations of calls ----
 *
 * Where a batch is a request with an answer of its own, a driver has dest_call and dest_answer
 * instead of dest_write. It only makes the call and reads the answer: what is sent when, how
 * often, and what is halved, the engine decides, keeping to the limits. All hooks are called by
 * one thread, several calls being under way; dest_wake by any. */

enum call_fate {                   /* zero is the honest default */
                 CALL_UNKNOWN = 0, /* it may have been applied, wholly or in part */
                 CALL_ANSWERED,    /* the outcomes tell of every row, or that it is
                                      ROW_ABSENT */
                 CALL_FAILED,      /* nothing was applied, by no row's fault: again, later */
                 CALL_REFUSED,     /* nothing was applied, for the sake of rows: those with the
                                      outcome ROW_REJECTED, or nobody knows which */
                 CALL_TOO_LARGE,   /* nothing was applied; fewer rows may be taken */
                 CALL_DENIED,      /* nothing was applied: the credentials were refused; once
                                      more, since the driver may renew them */
                 CALL_HOPELESS,    /* nothing was applied, nor would be, whatever is sent */
                 CALL_PREPARED,    /* nothing was applied yet: it takes one request more, so
                                      dest_call again, or never. Rows that are ROW_ABSENT leave
                                      it before, the others stay in their order */
};

struct call {
    struct batch batch;
    struct outcome *out;                   /* batch.n, zeroed by the engine */
    const unsigned char (*identities)[32]; /* of each change, over retries and restarts; zeros
                                              unless limits.identities */
    unsigned tries;                        /* made before */
    bool absent;                           /* its rows were ROW_ABSENT, and are to be made. No
                                              more once they may have been: then it comes as
                                              at first */
    void *driver; /* the driver's own, while it is under way or CALL_PREPARED; NULL at first */
};

/* A request and its answer, for those who look for what went wrong: the engine takes secrets
 * out of it, and keeps some. Borrowed until the next dest_call or dest_answer. */
struct transcript {
    const char *method, *address;
    const char *const *headers; /* "Name: value", ended by NULL; MAY be NULL */
    struct str body;            /* before it was packed */
    int status;                 /* 0: there is no whole answer */
    struct str answer_head;     /* "name: value\n" lines */
    struct str answer;
    int64_t us;
    const char *const *secrets; /* beside those of the connection, such as tokens; ended by
                                   NULL, MAY be NULL */
};

struct call_answer {
    struct call *call;
    enum call_fate fate;
    bool twice;         /* it may have come to the peer before, too, unanswered */
    struct error error; /* unless CALL_ANSWERED: what the run says of it */
    const struct transcript *transcript; /* MAY be NULL */
    const struct transcript *before;     /* MAY: of what prepared it; secrets are above */
    /* What it says of the pace; see calls/pace.h. */
    int64_t wait_us;
    bool counted;
    uint64_t remaining;
    int64_t reset_us;
    const char *spent; /* MAY: why no other call should begin in this run, such as a quota of
                          the day of which little is left; borrowed as the transcript */
};

enum driver_traits {
    /* Nothing is applied before dest_commit, then all of it at once. To a destination without
     * it the engine sends a mirror only when the whole model was read and no guard holds it;
     * an insert too, unless it is made by calls. */
    TRAIT_ATOMIC = 1,
    /* A dot in a field's name goes down: "address.city" is a member of the object "address". */
    TRAIT_NESTED = 2,
};

struct driver {
    const char *name;
    const char *summary;  /* one line */
    const char *manifest; /* the text that it was made of; NULL: it is code */
    const char *readme;   /* the README of /drivers/NAME, plain text or Markdown */
    /* MODE_BITs it can carry out as a destination, by the sync's type; see driver_modes. */
    unsigned modes;
    unsigned audience_modes;
    unsigned event_modes;
    unsigned traits;
    bool takes_table, takes_query; /* as a source; a file source takes neither */

    const struct option *options; /* connections/NAME.json, beside "driver" */
    size_t options_size;
    const struct option *source_options; /* "source" in config.json; may be NULL */
    size_t source_options_size;
    const struct option *dest_options; /* "destination" in config.json; may be NULL */
    size_t dest_options_size;
    /* MAY: what the tables cannot say about a connection (a DSN that holds a password, …). */
    int (*check)(const void *connection, struct error *err);
    /* MAY: what the tables cannot say about a destination's options in config.json. */
    int (*dest_options_check)(const void *options, enum sync_type type, struct error *err);
    /* MAY: what they cannot say about a sync as a whole: whether the mode can be carried out
     * with this object, these fields (without types) and this identifier. */
    int (*dest_judge)(const struct target *target, struct error *err);
    /* A destination MUST: a text for the place that a connection points to (server and
     * database, file, account), never a secret, nor how it is reached or by whom. Where it
     * changes, what was delivered stands somewhere else: every row is due again. Asks nobody.
     */
    int (*place)(const void *connection, struct buf *out, struct error *err);

    /* A source MUST have these five. `connection` outlives the handle. */
    int (*source_open)(const void *connection, const struct model *model, void **ret,
                       struct error *err);
    /* All columns of the model. ERR_CONFIG when the table or query is wrong. */
    int (*source_describe)(void *handle, struct schema *ret, struct error *err);
    /* Decides how the rows will be read; once. */
    int (*source_plan)(void *handle, const struct projection *projection, bool want_order,
                       struct source_plan *ret, struct error *err);
    /* One streamed pass in one snapshot. An error half way is an error, never a smaller model.
     */
    int (*source_read)(void *handle, source_row_fn row, void *arg, struct error *err);
    void (*source_close)(void *handle);
    /* MAY: makes source_read return soon with ERR_CANCELLED. Any thread. */
    void (*source_cancel)(void *handle);

    /* A destination MUST have place, open, write and close. */
    int (*dest_open)(const void *connection, const struct target *target, void **ret,
                     struct error *err);
    /* MAY: the object's columns; n = 0 and 0 when it does not exist yet. */
    int (*dest_describe)(void *handle, struct schema *ret, struct error *err);
    void (*dest_limits)(void *handle, struct limits *ret);
    int (*dest_begin)(void *handle, const struct session *session, struct error *err);
    /* 0: out[] is the whole truth. Negative: the call failed as a whole; rows left ROW_UNKNOWN
     * stay unknown. -EAGAIN with ERR_REPLAY: nothing applied, begin again with careful. */
    int (*dest_write)(void *handle, const struct batch *batch, struct outcome *out,
                      struct error *err);
    /* MAY, after all inserts and updates of a full session were written: every row at the
     * destination whose key was not offered. */
    int (*dest_survey)(void *handle, dest_foreign_fn foreign, void *arg, struct error *err);
    /* MAY: carries out what was staged and gives the verdict of each row that is not done.
     * Still nothing is visible to others for TRAIT_ATOMIC. May answer ERR_REPLAY too. */
    int (*dest_apply)(void *handle, dest_verdict_fn verdict, void *arg, struct error *err);
    /* MAY: publishes. ERR_UNKNOWN when the answer was lost: dest_resolve is asked later. */
    int (*dest_commit)(void *handle, struct error *err);
    void (*dest_abort)(void *handle);
    /* MAY: was the session with this token committed? */
    int (*dest_resolve)(void *handle, const char *token, enum dest_fate *ret,
                        struct error *err);
    /* Instead of dest_write, both or none. dest_call begins a call; an error means that nothing
     * was sent, and the run ends by it. The call is the engine's, and stays where it is until
     * its answer. */
    int (*dest_call)(void *handle, struct call *call, struct error *err);
    /* Waits for one call under way to end: 1 with *ret, whose texts are borrowed until the next
     * dest_answer; 0 when none did in time or somebody woke it. Of a timeout below 0: only
     * those that are known to have ended. */
    int (*dest_answer)(void *handle, int64_t timeout_us, struct call_answer *ret,
                       struct error *err);
    /* Any thread: dest_answer returns soon. */
    void (*dest_wake)(void *handle);
    void (*dest_cancel)(void *handle);
    void (*dest_close)(void *handle);

    /* Of one that may go while the process lives, both or none: one holder more, one less; the
     * last one frees it. Any thread. */
    void (*hold)(const struct driver *driver);
    void (*let_go)(const struct driver *driver);
};

/* All that are built in; NULL ends. Made by the build from drivers/meson.build, and by
 * drivers_load from the connectors among them. */
extern const struct driver *const *drivers;
/* Puts the connectors built in among them, and sets driver_maker; once, before a second thread
 * runs. */
int drivers_load(struct error *err);
/* Of those built in; NULL when there is none of that name. */
const struct driver *driver_find(const char *name);

/* One reference more; NULL-safe. Whoever keeps a driver, or a struct that was filled by its
 * tables, needs one. */
const struct driver *driver_ref(const struct driver *driver);
const struct driver *driver_unref(const struct driver *driver); /* NULL-safe, returns NULL */
static inline void
driver_done(const struct driver **driver)
{
    driver_unref(*driver);
}
#define AUTO_DRIVER __attribute__((cleanup(driver_done)))

/* Who makes drivers of what users write: of a manifest. */
struct driver_maker {
    const char *schema; /* JSON Schema of manifests */
    /* The text is JSON, whole and well formed. 0 and a reference in *ret; -EINVAL with
     * "/calls/0/method: what is wrong; what would be right" in *err, of which the last may be
     * missing; -ENOMEM. */
    int (*make)(const char *name, struct str manifest, const struct driver **ret,
                struct error *err);
};
extern const struct driver_maker *driver_maker; /* NULL: there is none */

/* "upsert" …; static. */
const char *mode_name(enum mode mode);
/* The reverse; -1 when unknown. */
int mode_parse(struct str text);
/* "records" …; static. */
const char *sync_type_name(enum sync_type type);
/* Whether what left the model leaves the destination. */
bool mode_deletes(enum mode mode);
/* Whether what changed in the model changes at the destination: else another mapping is no
 * reason to send a row again. */
bool mode_updates(enum mode mode);
/* The modes there are for such a sync, and those that a driver (NULL: any) can carry out. */
unsigned sync_type_modes(enum sync_type type);
unsigned driver_modes(const struct driver *d, enum sync_type type);
/* Whether it can carry out any. */
bool driver_is_destination(const struct driver *d);
