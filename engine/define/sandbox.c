/*
 * Expressions in SQLite: see sandbox.h. What an expression reads is learnt by compiling it: as
 * long as SQLite misses a column, that name becomes one. Each expression is compiled in three
 * places, since each alone could be tricked: in WHERE no aggregate, alias or list is possible;
 * bare it cannot close our bracket; the third is the statement that is run.
 */
#include "define/sandbox.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "define/sandbox_functions.h"

enum {
    SEEN_MAX = 32,           /* columns kept from one check to the next */
    NAMES_MAX = 256,         /* columns one expression may read */
    VALUE_MAX = 16 << 20,    /* bytes of any text in between */
    STATEMENT_MAX = 1 << 20, /* the expression and its columns' names */
};

struct sandbox {
    sqlite3 *db;
    struct sandbox_functions *functions;
    int selects;               /* how many more may come in the statement being compiled */
    bool subquery;             /* and that was one too many */
    struct sandbox_names seen; /* columns that checked expressions read: saves guessing again */
    char denied[64];           /* a function that is not to be had */
};

/* ---- what is allowed ---- */

/* All that compute a value from their arguments alone. Not: random, now, files, rowids. */
static bool
function_allowed(const char *name)
{
    static const char allowed[] =
        " -> ->> abs acos acosh asin asinh atan atan2 atanh ceil ceiling char coalesce concat "
        "concat_ws cos cosh date datetime degrees exp floor format glob hex if ifnull iif "
        "instr "
        "json json_array json_array_length json_extract json_insert json_object json_patch "
        "json_quote json_remove json_replace json_set json_type json_valid julianday length "
        "like likelihood likely ln log log10 log2 lower ltrim max min mod nullif octet_length "
        "pi pow power printf quote radians replace round rtrim sign sin sinh soundex "
        "sqrt strftime substr substring tan tanh time timediff trim trunc typeof unhex unicode "
        "unixepoch unlikely upper ";
    char word[32];
    size_t n = strlen(name);
    if (n == 0 || n + 3 > sizeof word || strchr(name, ' '))
        return false;
    sqlite3_snprintf(sizeof word, word, " %s ", name);
    for (char *c = word; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c | 32);
    if (strstr(allowed, word))
        return true;
    word[n + 1] = '\0'; /* without the blanks */
    return sandbox_functions_have(word + 1);
}

static int
authorize(void *arg, int action, const char *a, const char *b, const char *c, const char *d)
{
    struct sandbox *s = arg;
    if (action == SQLITE_FUNCTION && b && function_allowed(b))
        return SQLITE_OK;
    if (action == SQLITE_FUNCTION)
        sqlite3_snprintf(sizeof s->denied, s->denied, "%s", b ? b : "");
    if (action == SQLITE_SELECT && s->selects-- > 0)
        return SQLITE_OK;
    if (action == SQLITE_SELECT || action == SQLITE_RECURSIVE || action == SQLITE_READ)
        s->subquery = true;
    return SQLITE_DENY;
}

/* ---- opening ---- */

static int
configure(struct sandbox *s)
{
    static const struct {
        int what, to;
    } switches[] = {
        /* "x" is a column, never a text: a misspelt name must not pass for one */
        {SQLITE_DBCONFIG_DQS_DML, 0},
        {SQLITE_DBCONFIG_DQS_DDL, 0},
        {SQLITE_DBCONFIG_DEFENSIVE, 1},
        {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
        {SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
    };
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++)
        if (sqlite3_db_config(s->db, switches[i].what, switches[i].to, NULL))
            return SQLITE_ERROR;
    sqlite3_limit(s->db, SQLITE_LIMIT_LENGTH, VALUE_MAX);
    sqlite3_limit(s->db, SQLITE_LIMIT_SQL_LENGTH, STATEMENT_MAX);
    sqlite3_limit(s->db, SQLITE_LIMIT_EXPR_DEPTH, 200);
    sqlite3_limit(s->db, SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000);
    sqlite3_limit(s->db, SQLITE_LIMIT_ATTACHED, 0);
    int rc = sandbox_functions_open(s->db, &s->functions);
    return rc ? rc : sqlite3_set_authorizer(s->db, authorize, s);
}

int
sandbox_open(struct sandbox **ret, struct error *err)
{
    struct sandbox *s = calloc(1, sizeof *s);
    if (!s)
        return error_no_memory(err);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_MEMORY | SQLITE_OPEN_NOMUTEX;
    int rc = sqlite3_open_v2(":memory:", &s->db, flags, NULL);
    rc = rc ? rc : configure(s);
    if (rc) {
        sandbox_close(s);
        return error_set(err, ERR_INTERNAL, rc == SQLITE_NOMEM ? ENOMEM : EIO,
                         "cannot prepare expressions: %s", sqlite3_errstr(rc));
    }
    *ret = s;
    return 0;
}

struct sandbox *
sandbox_close(struct sandbox *s)
{
    if (!s)
        return NULL;
    sandbox_names_done(&s->seen);
    sqlite3_close(s->db);
    sandbox_functions_close(s->functions);
    free(s);
    return NULL;
}

const char *
sandbox_error(struct sandbox *s)
{
    return sqlite3_errmsg(s->db);
}

void
sandbox_names_done(struct sandbox_names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free((char *)(uintptr_t)names->p[i]);
    free(names->p);
    *names = (struct sandbox_names){.n = 0};
}

/* ---- compiling ---- */

enum form { FORM_WHERE, FORM_BARE, FORM_RUN };

/* " FROM (SELECT ?1 AS "a", ?2 AS "b") AS model", nothing without names. Only the form that is
 * run has parameters of ours: any in another is the expression's own. */
static void
add_from(struct buf *sql, enum form form, const struct sandbox_names *names)
{
    for (size_t i = 0; i < names->n; i++) {
        buf_adds(sql, i ? ", " : " FROM (SELECT ");
        if (form == FORM_RUN)
            buf_addf(sql, "?%zu AS \"", i + 1);
        else
            buf_adds(sql, "NULL AS \"");
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): the first n names are there */
        for (const char *c = names->p[i]; *c; c++) {
            if (*c == '"')
                buf_addc(sql, '"');
            buf_addc(sql, *c);
        }
        buf_addc(sql, '"');
    }
    if (names->n)
        buf_adds(sql, ") AS model");
}

/* The line breaks end a comment that the expression may close with. */
static int
prepare(struct sandbox *s, enum form form, const char *expression,
        const struct sandbox_names *names, sqlite3_stmt **ret)
{
    AUTO_BUF struct buf sql = BUF_INIT(STATEMENT_MAX);
    if (form == FORM_WHERE)
        buf_adds(&sql, "SELECT 1");
    else
        buf_addf(&sql, form == FORM_BARE ? "SELECT %s\n" : "SELECT (%s\n)", expression);
    add_from(&sql, form, names);
    if (form == FORM_WHERE)
        buf_addf(&sql, " WHERE (%s\n)", expression);
    if (sql.failed)
        return sql.full ? SQLITE_TOOBIG : SQLITE_NOMEM;
    s->selects = names->n ? 2 : 1; /* ours: the row of columns is one */
    s->subquery = false;
    s->denied[0] = '\0';
    return sqlite3_prepare_v3(s->db, sql.p, (int)sql.n + 1, SQLITE_PREPARE_PERSISTENT, ret,
                              NULL);
}

/* Whether SQLite missed a column, by its message; *ret: which (owned), NULL when memory is out.
 */
static bool
missing_column(const char *message, char **ret)
{
    static const char begin[] = "no such column: ";
    static const char advice[] = "\" - should this be";
    if (strncmp(message, begin, sizeof begin - 1) != 0)
        return false;
    message += sizeof begin - 1;
    const char *end = *message == '"' ? strstr(message, advice) : NULL;
    *ret = end ? strndup(message + 1, (size_t)(end - message - 1))
               : strdup(strncmp(message, "model.", 6) == 0 ? message + 6 : message);
    return true;
}

static bool
have_name(const struct sandbox_names *names, const char *name)
{
    for (size_t i = 0; i < names->n; i++)
        if (sqlite3_stricmp(names->p[i], name) == 0)
            return true;
    return false;
}

static int
explain(struct sandbox *s, int rc, struct error *err)
{
    if (rc == SQLITE_NOMEM)
        return error_no_memory(err);
    if (rc == SQLITE_TOOBIG)
        return error_set(err, ERR_CONFIG, EINVAL, "the expression is too long");
    if (s->denied[0])
        return error_set(err, ERR_CONFIG, EINVAL, "function \"%s\" is not possible here",
                         s->denied);
    if (s->subquery)
        return error_set(err, ERR_CONFIG, EINVAL, "a subquery is not possible here");
    return error_set(err, ERR_CONFIG, EINVAL, "%s", sqlite3_errmsg(s->db));
}

/* Tries once; 1: it reads a column more than `names` had, which has it now. */
static int
learn(struct sandbox *s, const char *expression, struct sandbox_names *names, struct error *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = prepare(s, FORM_WHERE, expression, names, &stmt);
    int parameters = sqlite3_bind_parameter_count(stmt);
    sqlite3_finalize(stmt);
    if (rc == SQLITE_OK && parameters > 0)
        return error_set(err, ERR_CONFIG, EINVAL, "a parameter is not possible here");
    if (rc == SQLITE_OK)
        return 0;
    AUTO_FREE char *name = NULL;
    bool missing = missing_column(sqlite3_errmsg(s->db), &name);
    if (missing && !name)
        return explain(s, SQLITE_NOMEM, err);
    if (!missing || !*name || have_name(names, name))
        return explain(s, rc, err);
    if (names->n == NAMES_MAX)
        return error_set(err, ERR_CONFIG, EINVAL, "the expression reads more than %d columns",
                         NAMES_MAX);
    names->p[names->n++] = TAKE(name);
    return 1;
}

/* Compiles in the two places where it is not run, until `names` holds all that it reads. */
static int
settle(struct sandbox *s, const char *expression, struct sandbox_names *names,
       struct error *err)
{
    if (!names->p && !(names->p = calloc(NAMES_MAX, sizeof *names->p)))
        return error_no_memory(err);
    int more;
    while ((more = learn(s, expression, names, err)) == 1)
        ;
    if (more < 0)
        return more;
    sqlite3_stmt *bare = NULL;
    int rc = prepare(s, FORM_BARE, expression, names, &bare);
    int columns = sqlite3_column_count(bare);
    sqlite3_finalize(bare);
    if (rc)
        return explain(s, rc, err);
    if (columns != 1)
        return error_set(err, ERR_CONFIG, EINVAL, "more than one expression");
    return 0;
}

int
sandbox_compile(struct sandbox *s, const char *expression, struct sandbox_names *names,
                sqlite3_stmt **ret, struct error *err)
{
    *ret = NULL;
    *names = (struct sandbox_names){.n = 0};
    int rc = settle(s, expression, names, err);
    if (rc == 0) {
        rc = prepare(s, FORM_RUN, expression, names, ret);
        if (rc)
            rc = explain(s, rc, err);
    }
    if (rc)
        sandbox_names_done(names);
    return rc;
}

int
sandbox_check(struct sandbox *s, const char *expression, struct error *err)
{
    if (s->seen.n > SEEN_MAX)
        sandbox_names_done(&s->seen);
    int rc = settle(s, expression, &s->seen, err);
    if (rc)
        sandbox_names_done(&s->seen);
    return rc;
}
