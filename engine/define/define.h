/*
 * What the user's files mean: texts in, definitions or complaints out. Nothing here touches the
 * network, the state directory or a thread; every function is pure but for expressions, which
 * SQLite compiles.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "driver.h"

struct words;

/* ---- complaints: what is wrong, where, and what would be right ---- */

struct complaint {
    char file[128];            /* "config.json", "connections/shop.json"; "" when none */
    unsigned line;             /* from 1; 0: the file as a whole */
    unsigned column;           /* from 1, in bytes; 0: the line as a whole */
    char text[ERROR_TEXT_MAX]; /* "unknown key \"queery\"" */
    char hint[ERROR_TEXT_MAX]; /* "allowed: connection, query, table"; "" when there is none */
    char excerpt[256];         /* the line itself, cut to what fits around the column; "" */
    unsigned caret;            /* column of the fault within excerpt, from 1; 0: none */
    bool no_memory;            /* the text may be good: there was no memory to judge it */
};

/* "config.json:3:16: error: text\n  excerpt\n      ^\nhint\n": the text of `error` and
 * error_log. */
void complaint_render(const struct complaint *c, struct buf *out);
/* The first line of it, without newline. */
void complaint_line(const struct complaint *c, struct buf *out);

/* ---- kinds of checked files ---- */

enum text_kind {
    TEXT_PLAIN = 0, /* any other file: kept, never checked */
    TEXT_CONFIG,
    TEXT_MAPPINGS,
    TEXT_MODE,
    TEXT_CONNECTION,
    TEXT_SCHEDULE,
    TEXT_CONNECTOR,
};

/* By the name within a sync's directory / within connections/ / within a directory of drivers/.
 * "x.json" is a connection when x is a good name; temp and backup names are plain. */
enum text_kind text_kind_in_sync(const char *name);
enum text_kind text_kind_in_connections(const char *name);
enum text_kind text_kind_in_driver(const char *name);
/* Most bytes such a file may have (config 1 MiB, mappings 16 MiB, mode 64 …). */
size_t text_max(enum text_kind kind);

/* What a check may know of the world beside the text itself. */
struct world {
    /* A reference to the driver behind a connection; NULL when there is no such (ready)
     * connection. The function itself NULL: nothing is known of connections, so none is missed.
     */
    const struct driver *(*driver_of)(void *arg, const char *connection);
    /* Asked when driver_of has none: is there such a connection all the same, and what is wrong
     * with it? NULL: there never is. */
    bool (*fault_of)(void *arg, const char *connection, struct complaint *why);
    /* A reference to the user's driver of that name: 0; -ENOENT: there is none; others with
     * *why. NULL: there never is one. */
    int (*users_driver)(void *arg, const char *name, const struct driver **ret,
                        struct complaint *why);
    /* Their names, copied into arena, for hints. NULL: as above. */
    void (*users_drivers)(void *arg, struct arena *arena, struct words *names);
    void *arg;
    /* TEXT_MODE: what config_destination says of the sync's config.json in force. */
    const char *destination; /* NULL: unknown, then so is the type */
    enum sync_type type;
};

enum text_verdict {
    TEXT_OK,         /* whole and good */
    TEXT_INCOMPLETE, /* good as far as it goes; more could make it whole (final: refused) */
    TEXT_BROKEN,     /* nothing that follows can mend it; *complaint says what and where */
};

/* The one check. `file` is the name complaints carry. final: no more text follows, so
 * TEXT_INCOMPLETE comes with a complaint too and means refused. Pure: what depends on another
 * file that does not exist yet is not judged. An empty or blank text is TEXT_INCOMPLETE, but
 * for a final TEXT_SCHEDULE: that is "off". */
enum text_verdict text_check(enum text_kind kind, const struct world *world, const char *file,
                             struct str text, bool final, struct complaint *complaint);

/* ---- definitions ---- */

struct mapping {
    const char *column;     /* model column, or NULL when it is an expression */
    const char *expression; /* SQLite scalar expression, or NULL */
    const char *field;      /* destination field */
    unsigned line;          /* in mappings.csv */
};

enum foreign_rows { FOREIGN_HOLD, FOREIGN_DELETE, FOREIGN_KEEP };

/* A sync's definition: everything lives in its arena; immutable once parsed. */
struct definition {
    struct arena arena;
    /* By whose tables the options were filled: references, NULL when they were not. */
    const struct driver *source_driver, *dest_driver;
    const char *source_connection, *table, *query;
    const void *source_options; /* driver's struct, or NULL */
    enum sync_type type;        /* "events" that identify are TYPE_RECORDS */
    const char *event;          /* TYPE_EVENTS: their name, or… */
    const char *event_column;   /* …the model column that has it */
    size_t event_field;         /* event_column's mapping */
    const char *dest_connection, *object;
    const void *dest_options;
    const char *dest_part; /* what its OPTION_PLACE options say: "list=vip"; NULL: nothing */
    bool create;
    const char **identifier; /* model columns */
    size_t nidentifier;
    bool max_deletes_set;     /* false: the default (20 % when over 100 rows were delivered) */
    int64_t max_deletes_rows; /* -1: a share */
    double max_deletes_share; /* 0.2 is 20 % */
    enum foreign_rows foreign;
    uint64_t keep_runs; /* how many of them runs/ holds */
    uint64_t keep_days; /* and how old they may be; 0: as old as they are */
    uint64_t
        log_requests;     /* so many of each run's requests are kept, whatever became of them */
    bool duplicates_last; /* "duplicates": "last" */
    struct mapping *mappings; /* in file order */
    size_t nmappings;
    size_t *key; /* indices into mappings: the identifier's, in identifier order */
    enum mode mode;
};

struct sync_texts { /* p = NULL: the file does not exist */
    struct str config, mappings, mode;
};

/* Complaints of one definition; at most COMPLAINTS_MAX are kept. */
enum { COMPLAINTS_MAX = 32 };
struct complaints {
    struct complaint items[COMPLAINTS_MAX];
    size_t n;
};

/* Parses all three texts together with what they say of each other and of the connections:
 * missing files, a connection that does not exist, a mode the destination cannot do, an
 * identifier that is not mapped plainly, a mode that needs an identifier, duplicate fields,
 * options no driver knows. *ret is NULL when complaints were added (the sync is not ready);
 * -ENOMEM when one of them is for want of memory. */
int definition_parse(const struct world *world, const struct sync_texts *texts,
                     struct definition **ret, struct complaints *complaints);
struct definition *definition_free(struct definition *d); /* NULL-safe, returns NULL */

/* The destination connection named by a config.json that may be otherwise unfinished; copied
 * into arena, NULL when it names none. *type: what the sync is, as far as it says so. */
const char *config_destination(struct str config, struct arena *arena, enum sync_type *type);

/* ---- connections ---- */

struct connection {
    struct arena arena;
    const char *name;
    const struct driver *driver; /* a reference */
    void *options; /* the driver's struct; OPT_SECRET members are NULL until resolved */
    struct secret {
        size_t offset;          /* of the member */
        const char *env, *file; /* one of these three */
        const char **command;   /* NULL-terminated argv */
        const char *option;     /* its name, for errors */
    } * secrets;
    size_t nsecrets;
};

/* `world` MAY be NULL. */
int connection_parse(const struct world *world, const char *name, struct str text,
                     struct connection **ret, struct complaint *complaint);
/* Appends a connection's text, well formed or not, with every value as "***": what may be kept
 * of a refused one, which may hold a password in plain text. */
void connection_mask(struct str text, struct buf *out);
/* The driver that a connection's text names; copied into arena, NULL when it names none. */
const char *connection_driver(struct str text, struct arena *arena);
/* Reads the secrets (may run a command: never from a FUSE thread) into the options. The error
 * names the option and where it was to come from, never a value. One trailing newline is cut.
 * cancelled MAY be NULL: it ends a command. */
int connection_resolve(struct connection *c, const atomic_bool *cancelled, struct error *err);
struct connection *connection_free(struct connection *c); /* wipes secrets; returns NULL */

/* ---- drivers that users write: drivers/NAME/connector.json ---- */

/* Whether a driver of that name could be made by a user. */
bool driver_name_good(const char *name);
/* 0 and a reference, -EINVAL or -ENOMEM. */
int manifest_make(const char *name, struct str text, const struct driver **ret,
                  struct complaint *complaint);

/* ---- what the mount shows of a driver ---- */

enum driver_text {
    DRIVER_README,
    DRIVER_MODES,
    DRIVER_OPTIONS,
    DRIVER_MANIFEST, /* of a driver that is data */
    DRIVER_ERROR,    /* of a user's: see engine.h */
};
/* Appends it. -ENOENT: it has no such text; -ENOMEM. */
int driver_text(const struct driver *d, enum driver_text which, struct buf *out);

/* JSON Schema (draft 2020-12) of connections/NAME.json and of the driver's keys in "source" and
 * "destination". */
void driver_options_json(const struct driver *d, struct buf *out);
/* Its modes, one a line, those of each type of sync after a comment that names it. */
void driver_modes_text(const struct driver *d, struct buf *out);
/* Those of one type, the current one in brackets (current = -1: none). */
void sync_modes_text(const struct driver *d, enum sync_type type, int current, struct buf *out);

/* ---- expressions ---- */

struct expressions; /* compiled; one thread */

/* Syntax alone: everything but unknown columns. */
int expression_check(const char *expression, struct error *err);
/* Compiles the expressions of these mappings over the columns of a model. Only scalar
 * expressions: no subqueries, no aggregates, no access to files. used[i] is set true for each
 * model column i that an expression reads. */
int expressions_compile(const struct schema *schema, const struct mapping *mappings,
                        size_t nmappings, bool *used, struct expressions **ret,
                        struct error *err);
/* Evaluates expression number `which` (counting only mappings that are expressions) for a row
 * given as nschema values (only used ones need be there). *out is borrowed until the next call
 * for the same `which`, or until the row's values go. INTEGER → V_INT, REAL → V_FLOAT, TEXT →
 * V_TEXT, BLOB → V_BYTES. An SQL error (integer overflow, malformed JSON) is ERR_DATA: the
 * row's own fault. */
int expressions_eval(struct expressions *x, size_t which, const struct value *row,
                     struct value *out, struct error *err);
struct expressions *expressions_free(struct expressions *x); /* NULL-safe, returns NULL */

/* ---- retlfs check DIR ---- */

/* Validates DIR/connections/NAME.json and DIR/syncs/NAME/ (or DIR/NAME/ with a config.json);
 * writes "path:line:column: error: …" to out. Returns the number of faults, or -errno if DIR
 * cannot be read. *checked: how many files were looked at. */
int check_directory(const char *path, struct buf *out, unsigned *checked, struct error *err);
