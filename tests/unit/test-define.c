/* The user's files: what is accepted, what is refused, where, and in which words. */
#include "define/define.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "define-fake.h"
#include "define/json_text.h"
#include "tap.h"

/* Whether the text is refused at line:column with words that contain `part`. */
static bool
refused(enum text_kind kind, const char *text, unsigned line, unsigned column, const char *part)
{
    struct complaint c;
    enum text_verdict v = text_check(kind, &fake_world, "f", str_of(text), true, &c);
    bool ok = v != TEXT_OK && c.line == line && c.column == column &&
              (strstr(c.text, part) || strstr(c.hint, part));
    if (!ok)
        printf("# verdict %d at %u:%u: %s (%s)\n", v, c.line, c.column, c.text, c.hint);
    return ok;
}

static bool
accepted(enum text_kind kind, const char *text)
{
    struct complaint c;
    enum text_verdict v = text_check(kind, &fake_world, "f", str_of(text), true, &c);
    if (v != TEXT_OK)
        printf("# verdict %d at %u:%u: %s (%s)\n", v, c.line, c.column, c.text, c.hint);
    return v == TEXT_OK;
}

#define CONFIG_HEAD                                                                            \
    "{ \"source\": { \"connection\": \"shop\", \"table\": \"t\" },\n"                          \
    "  \"destination\": { \"connection\": \"crm\", \"object\": \"o\" }"
#define CONFIG(more) CONFIG_HEAD more " }\n"

static const char good_config[] =
    CONFIG(",\n  \"identifier\": [\"email\", \"shop\"],\n"
           "  \"max_deletes\": \"2.5%\", \"foreign\": \"keep\",\n"
           "  \"duplicates\": \"last\", \"type\": \"records\",\n"
           "  \"description\": \"caf\xC3\xA9 \\u00e9 \\\"x\\\"\"");
static const char good_mappings[] = "\xEF\xBB\xBF"
                                    "# who they are\r\n"
                                    "column , field,expression\r\n"
                                    "email,email_id\r\n"
                                    "\r\n"
                                    "  first_name , \"f\"\"n\",\r\n"
                                    ",full,\"first_name || ', '\n|| last_name\"\r\n"
                                    "#,a,comment\r\n"
                                    ",source, 'warehouse'\r\n"
                                    "shop,sh\xC3\xB6p";
static const char good_connection[] =
    "{ \"driver\": \"db\", \"path\": \"/x\", \"password\": { \"env\": \"X\" },\n"
    "  \"types\": { \"a\": \"integer\", \"b\": \"timestamptz\" }, \"delimiter\": \"\\t\" }";

static void
test_config(void)
{
    enum text_kind k = TEXT_CONFIG;
    CHECK(accepted(k, good_config));
    CHECK(accepted(k, CONFIG("")));
    CHECK(accepted(k, CONFIG(", \"identifier\": \"email\", \"max_deletes\": 0")));
    CHECK(refused(k, CONFIG(", \"identifer\": \"x\""), 2, 58, "did you mean \"identifier\"?"));
    CHECK(refused(k, CONFIG(", \"max_deletes\": \"20\""), 2, 73, "must be a share"));
    CHECK(refused(k, CONFIG(", \"max_deletes\": \"101%\""), 2, 73, "must be a share"));
    CHECK(refused(k, CONFIG(", \"max_deletes\": -1"), 2, 73, "must be a share"));
    CHECK(refused(k, CONFIG(", \"max_deletes\": 0.5"), 2, 73, "must be a share"));
    CHECK(refused(k, CONFIG(", \"foreign\": \"delet\""), 2, 69, "did you mean \"delete\"?"));
    CHECK(refused(k, CONFIG(", \"foreign\": null"), 2, 69, "must be a string, not null"));
    CHECK(refused(k, CONFIG(", \"identifier\": []"), 2, 72, "1 to 64"));
    CHECK(refused(k, CONFIG(", \"identifier\": [\"a\",\n\"a\"]"), 3, 1, "stands twice"));
    CHECK(refused(k, CONFIG(", \"identifier\": [\"a\", 7]"), 2, 78, "list of columns"));
    CHECK(refused(k, CONFIG(", \"type\": \"event\""), 2, 66, "did you mean \"events\"?"));
    CHECK(refused(k, CONFIG(", \"type\": \"events\", \"event\": {}"), 2, 66,
                  "possible: records, audience"));
    CHECK(refused(k, CONFIG(", \"source\": {}"), 2, 58, "duplicate key"));
    CHECK(refused(k, CONFIG(", \"x\\\"\": 1,\n\"x\\\"\": 2"), 3, 1, "duplicate key"));
    CHECK(refused(k, "{}", 1, 1, "\"source\" is missing"));
    CHECK(refused(k, "{ \"source\": [] }", 1, 13, "must be an object, not an array"));
    CHECK(
        refused(k, "{ \"source\": { \"table\": \"t\" } }", 1, 13, "\"connection\" is missing"));
    CHECK(refused(k, "{ \"source\": { \"connection\": \"a/b\" } }", 1, 29,
                  "name of a connection"));
    CHECK(refused(k, "{ \"source\": { \"connection\": \"shop\" } }", 1, 13,
                  "\"query\" is missing"));
    CHECK(refused(k, "{ \"source\": { \"connection\": \"?x\" } }", 1, 29,
                  "name of a connection"));
    CHECK(refused(k, "{ \"source\": { \"connection\": \"in\", \"table\": \"t\" } }", 1, 35,
                  "stands in the connection"));
    CHECK(refused(
        k, "{ \"source\": { \"connection\": \"new\",\n\"table\": \"t\", \"query\": \"q\" } }",
        2, 15, "side by side"));
    CHECK(refused(k, "{ \"source\": { \"connection\": \"in\", \"x\": 1 } }", 1, 35,
                  "allowed: connection"));
    CHECK(refused(k, "{ \"source\": { \"connection\": \"new\", \"tabel\": \"t\" } }", 1, 36,
                  "did you mean \"table\"?"));
    CHECK(refused(k,
                  "{ \"source\": { \"connection\": \"in\" }, \"destination\": "
                  "{ \"connection\": \"crm\", \"schema\": 7 } }",
                  1, 85, "\"schema\" must be a string, not an integer"));
}

static void
test_json(void)
{
    enum text_kind k = TEXT_CONFIG;
    CHECK(refused(k, "[]", 1, 1, "expected '{'"));
    CHECK(refused(k, "\xEF\xBB\xBF{}", 1, 1, "byte order mark"));
    CHECK(refused(k, "", 0, 0, "empty"));
    CHECK(refused(k, "{\n  \"a\" 1 }", 2, 7, "expected ':'"));
    CHECK(refused(k, "{ \"a\": 1,\n}", 2, 1, "expected a key"));
    CHECK(refused(k, "{ \"a\": [1,] }", 1, 11, "expected a value"));
    CHECK(refused(k, "{ \"a\": tru }", 1, 8, "expected a value"));
    CHECK(refused(k, "{ \"a\": 01 }", 1, 8, "begin with 0"));
    CHECK(refused(k, "{ \"a\": 9223372036854775808 }", 1, 8, "64 bits"));
    CHECK(refused(k, "{ \"a\": -9223372036854775809 }", 1, 8, "64 bits"));
    CHECK(refused(k, "{ \"a\": 1e999 }", 1, 12, "out of range"));
    CHECK(refused(k, "{ \"a\": \"b\nc\" }", 1, 10, "not closed on its line"));
    CHECK(refused(k, "{ \"a\": \"\\u0000\" }", 1, 9, "NUL"));
    CHECK(refused(k, "{ \"a\": \"\\ud800x\" }", 1, 9, "surrogate"));
    CHECK(refused(k, "{ \"a\": \"\xC0\x80\" }", 1, 9, "UTF-8"));
    CHECK(refused(k, "{ \"a\": 1 } x", 1, 12, "after the end"));
    CHECK(refused(k, "{ \"a\":\n  { \"b\": 1\n", 2, 11, "'{' of line 2 is not closed"));
    struct complaint c;
    CHECK(text_check(k, &fake_world, "f", (struct str){"{\0}", 3}, true, &c) == TEXT_BROKEN);

    char deep[200] = "{\"a\":";
    memset(deep + 5, '[', 80);
    CHECK(refused(k, deep, 1, 69, "deeper than 64"));
}

static void
test_render(void)
{
    struct complaint c;
    text_check(TEXT_CONFIG, &fake_world, "config.json", STR("{\n\t\"\xC3\xA9\" 1 }\n"), true,
               &c);
    AUTO_BUF struct buf out = BUF_INIT(4096);
    complaint_render(&c, &out);
    CHECK_TEXT(buf_z(&out), "config.json:2:7: error: expected ':'\n"
                            "   \"\xC3\xA9\" 1 }\n"
                            "       ^\n");
    text_check(TEXT_MODE, &fake_world, "mode", STR("upsrt\n"), true, &c);
    buf_clear(&out);
    complaint_render(&c, &out);
    CHECK_TEXT(buf_z(&out), "mode:1:1: error: unknown mode \"upsrt\"\n"
                            "  upsrt\n"
                            "  ^\n"
                            "did you mean \"upsert\"? possible: upsert, insert, full\n");
    buf_clear(&out);
    complaint_line(&c, &out);
    CHECK_TEXT(buf_z(&out), "mode:1:1: error: unknown mode \"upsrt\"");

    char wide[2000];
    memset(wide, ' ', sizeof wide);
    memcpy(wide, "{", 1);
    memcpy(wide + 1500, "nope", 5);
    text_check(TEXT_CONFIG, &fake_world, "f", str_of(wide), true, &c);
    CHECK(c.column == 1501 && c.caret > 0 && c.excerpt[c.caret - 1] == 'n');
}

static void
test_mappings(void)
{
    enum text_kind k = TEXT_MAPPINGS;
    CHECK(accepted(k, good_mappings));
    CHECK(accepted(k, "column,field\na,b"));
    CHECK(refused(k, "", 0, 0, "empty"));
    CHECK(refused(k, "column,field\n\n", 0, 0, "no mappings"));
    CHECK(refused(k, "a,b\nc,d\n", 1, 1, "must name the columns"));
    CHECK(refused(k, "# x\ncolumn,feild\n", 2, 8, "expected: column,field"));
    CHECK(refused(k, "column\n", 1, 1, "too short"));
    CHECK(refused(k, "column,field\na\n", 2, 1, "field is missing"));
    CHECK(refused(k, "column,field\na,\n", 2, 3, "field is missing"));
    CHECK(refused(k, "column,field\na,b,c\n", 2, 5, "header is column,field,expression"));
    CHECK(refused(k, "column,field,expression\na,b,c,d,e\n", 2, 7, "more cells"));
    CHECK(refused(k, "column,field,expression\na,b,1\n", 2, 5, "both a column"));
    CHECK(refused(k, "column,field\n,b\n", 2, 1, "neither"));
    CHECK(refused(k, "column,field\na,b\nc,d\ne,b\n", 4, 1, "mapped again, first on line 2"));
    CHECK(refused(k, "column,field,expression\n,b,a ||\n", 2, 4, "syntax error"));
    CHECK(refused(k, "column,field,expression\n,b,(SELECT 1)\n", 2, 4, "subquery"));
    CHECK(refused(k, "column,field\na,\"b\n", 2, 3, "not closed"));
    CHECK(refused(k, "column,field\na,\"b\"x\n", 2, 6, "expected ','"));
    CHECK(refused(k, "column,field\na,b\"x\"\n", 2, 4, "doubled"));
    CHECK(refused(k, "column,field\na\rb,c\n", 2, 2, "carriage return"));
    CHECK(refused(k, "column,field\n\"a\nb\",c\nd\n", 4, 1, "field is missing"));
    CHECK(refused(k, "column,field\na,b\xFF\n", 2, 3, "UTF-8"));
    struct complaint c;
    CHECK(text_check(k, NULL, "f", (struct str){"column,field\na\0b,c\n", 19}, false, &c) ==
              TEXT_BROKEN &&
          strstr(c.text, "NUL"));
    CHECK(text_check(k, NULL, "f", STR("column,field\na,b\nc"), false, &c) == TEXT_INCOMPLETE);
    CHECK(text_check(k, NULL, "f", STR("column,field\n"), false, &c) == TEXT_INCOMPLETE);
}

static enum text_verdict
mode_verdict(const char *text, bool final)
{
    struct complaint c;
    return text_check(TEXT_MODE, &fake_world, "mode", str_of(text), final, &c);
}

static void
test_mode(void)
{
    CHECK(mode_verdict("upsert", false) == TEXT_OK);
    CHECK(mode_verdict("upsert\n", true) == TEXT_OK);
    CHECK(mode_verdict(" full ", true) == TEXT_OK);
    CHECK(mode_verdict("upse", false) == TEXT_INCOMPLETE);
    CHECK(mode_verdict("upse\n", false) == TEXT_BROKEN);
    CHECK(mode_verdict("mirr", false) == TEXT_BROKEN); /* db cannot */
    CHECK(mode_verdict("upserts", false) == TEXT_BROKEN);
    CHECK(mode_verdict("", false) == TEXT_INCOMPLETE);
    CHECK(refused(TEXT_MODE, "mirror", 1, 1, "not possible with driver \"db\""));
    CHECK(refused(TEXT_MODE, "mirror", 1, 1, "possible: upsert, insert, full"));
    CHECK(refused(TEXT_MODE, "upse", 1, 1, "unknown mode"));
    CHECK(refused(TEXT_MODE, "\n", 0, 0, "empty"));
    struct complaint c;
    CHECK(text_check(TEXT_MODE, NULL, "mode", STR("mirror"), true, &c) == TEXT_OK);
}

/* What there was no memory to judge is not called wrong. */
static void
test_no_memory(void)
{
    struct complaint c;
    text_check(TEXT_CONFIG, &fake_world, "config.json",
               STR("{ \"source\": { \"connection\": \"shop\", \"table\": \"t\" },\n"
                   "  \"destination\": { \"connection\": \"crm\", \"list\": \"much\" } }\n"),
               true, &c);
    CHECK(c.no_memory);
}

static void
test_connection(void)
{
    enum text_kind k = TEXT_CONNECTION;
    CHECK(accepted(k, good_connection));
    CHECK(refused(k, "{ \"path\": \"/x\" }", 1, 1, "\"driver\" is missing"));
    CHECK(refused(k, "{ \"driver\": \"fil\", \"path\": \"/x\" }", 1, 13,
                  "did you mean \"file\"?"));
    CHECK(refused(k, "{ \"driver\": \"db\" }", 1, 1, "\"path\" is missing"));
    CHECK(
        refused(k, "{ \"driver\": \"db\",\n\"pth\": \"x\" }", 2, 1, "did you mean \"path\"?"));
    CHECK(refused(k, "{ \"driver\": \"db\", \"path\": 1 }", 1, 27, "must be a string"));
    CHECK(refused(k, "{ \"driver\": \"db\", \"path\": \"\" }", 1, 27, "is empty"));
    CHECK(refused(k, "{ \"driver\": \"db\", \"path\": \"/x\", \"port\": \"1\" }", 1, 41,
                  "an integer"));
    CHECK(refused(k, "{ \"driver\": \"db\", \"path\": \"/x\", \"tls\": \"on\" }", 1, 40,
                  "allowed: off, prefer, require"));
    CHECK(refused(k, "{ \"driver\": \"db\", \"path\": \"/x\", \"delimiter\": \"ab\" }", 1, 46,
                  "one ASCII"));
    CHECK(refused(k, "{ \"driver\": \"db\", \"path\": \"/x\", \"types\": {\"a\": \"int\"} }", 1,
                  48, "allowed: any, boolean"));
    CHECK(
        refused(k, "{ \"driver\": \"file\", \"path\": \"/forbidden\" }", 1, 1, "is forbidden"));
    CHECK(refused(k, "{ \"driver\": \"db\", \"path\": \"/x\", \"password\": {\"env\": 1} }", 1,
                  53, "string"));
    CHECK(refused(k,
                  "{ \"driver\": \"db\", \"path\": \"/x\", \"password\": "
                  "{\"env\":\"a\",\"file\":\"/b\"} }",
                  1, 45, "one way"));
    CHECK(refused(k, "{ \"driver\": \"db\", \"path\": \"/x\", \"password\": {\"file\":\"b\"} }",
                  1, 53, "absolute"));
    CHECK(refused(k,
                  "{ \"driver\": \"db\", \"path\": \"/x\", \"password\": {\"command\":\"b\"} }",
                  1, 56, "array of strings"));

    /* of a driver to come all is taken but what no file may hold */
    CHECK(accepted(k, "{ \"driver\": \"tomorrow\", \"pth\": 1, \"password\": {\"env\": 1} }"));
    CHECK(refused(k, "{ \"driver\": \"tomorrow\", \"password\": \"hunter2\" }", 1, 37,
                  "a password in plain text is refused"));

    struct connection *conn = NULL;
    struct complaint c;
    CHECK(connection_parse(NULL, "shop", STR(good_connection), &conn, &c) == 0);
    const struct fake_options *o = conn->options;
    CHECK_TEXT(conn->name, "shop");
    CHECK_TEXT(o->path, "/x");
    CHECK_TEXT(o->tls, "prefer");
    CHECK(o->header && o->port == 5432 && o->delimiter == '\t' && !o->password);
    CHECK(o->types.n == 2 && o->types.types[0] == V_INT && o->types.types[1] == V_TIMESTAMPTZ);
    CHECK(conn->nsecrets == 1);
    conn = connection_free(conn);
    CHECK(connection_parse(NULL, "shop", STR("{ \"driver\": \"db\", \"path\": \"/x\" }"), &conn,
                           &c) == 0);
    CHECK(((const struct fake_options *)conn->options)->delimiter == '"');
    connection_free(conn);
}

/* ---- definitions ---- */

static struct definition *
parse(const char *config, const char *mappings, const char *mode, struct complaints *all)
{
    struct sync_texts texts = {str_of(config), str_of(mappings), str_of(mode)};
    struct definition *d;
    *all = (struct complaints){.n = 0};
    CHECK(definition_parse(&fake_world, &texts, &d, all) == 0);
    return d;
}

/* Not ready, and exactly one complaint says why. */
static bool
not_ready(const char *config, const char *mappings, const char *mode, const char *why)
{
    static struct complaints all;
    struct definition *d = parse(config, mappings, mode, &all);
    bool ok = !d && all.n == 1 && strstr(all.items[0].text, why);
    for (size_t i = 0; !ok && i < all.n; i++)
        printf("# %s:%u:%u: %s\n", all.items[i].file, all.items[i].line, all.items[i].column,
               all.items[i].text);
    definition_free(d);
    return ok;
}

static void
test_definition(void)
{
    static struct complaints all;
    struct definition *d = parse(good_config, good_mappings, "upsert\n", &all);
    CHECK(d && all.n == 0);
    if (!d)
        return;
    CHECK_TEXT(d->source_connection, "shop");
    CHECK_TEXT(d->table, "t");
    CHECK_TEXT(d->object, "o");
    CHECK(!d->query && !d->create && d->mode == MODE_UPSERT && d->duplicates_last);
    CHECK_TEXT(((const struct fake_dest_options *)d->dest_options)->schema, "public");
    CHECK(d->foreign == FOREIGN_KEEP && d->max_deletes_set && d->max_deletes_rows == -1 &&
          d->max_deletes_share == 0.025);
    CHECK(d->nmappings == 5 && d->nidentifier == 2 && d->key[0] == 0 && d->key[1] == 4);
    CHECK_TEXT(d->mappings[1].field, "f\"n");
    CHECK_TEXT(d->mappings[2].expression, "first_name || ', '\n|| last_name");
    CHECK(d->mappings[2].line == 6 && d->mappings[3].line == 9 && d->mappings[4].line == 10);
    definition_free(d);

    d = parse(CONFIG(""), "column,field\na,b\n", "insert", &all);
    CHECK(d && d->max_deletes_share == 0.2 && !d->max_deletes_set && d->nidentifier == 0);
    definition_free(d);
}

#define NAMING(options)                                                                        \
    "{ \"source\": { \"connection\": \"shop\", \"table\": \"t\" },\n"                          \
    "  \"destination\": { \"connection\": \"crm\", \"object\": \"o\",\n" options " } }\n"

/* Refused at line:column of config.json, in these words. */
static bool
unmapped(const char *config, unsigned line, unsigned column, const char *why)
{
    static struct complaints all;
    struct definition *d =
        parse(config, "column,field,expression\nemail,e.mail\n,x,email\n", "insert", &all);
    const struct complaint *c = &all.items[0];
    bool ok =
        !d && all.n == 1 && c->line == line && c->column == column && strstr(c->text, why);
    for (size_t i = 0; !ok && i < all.n; i++)
        printf("# %u:%u: %s\n", all.items[i].line, all.items[i].column, all.items[i].text);
    definition_free(d);
    return ok;
}

static void
test_fields_named(void)
{
    static struct complaints all;
    static const char config[] =
        NAMING("\"text\": \"Hi {e.mail|you}{{x}\", \"nulls\": {\"x\": \"omit\"},\n"
               "\"blocks\": [ {\"{nobody}\": [1.50, \"{x}\"]} ]");
    enum text_kind k = TEXT_CONFIG;
    struct definition *d =
        parse(config, "column,field,expression\nemail,e.mail\n,x,email\n", "insert", &all);
    CHECK(d && all.n == 0);
    const struct fake_dest_options *o = d ? d->dest_options : NULL;
    CHECK_TEXT(o && o->text ? o->text : "nothing", "Hi {e.mail|you}{{x}");
    CHECK_TEXT(o && o->blocks ? o->blocks : "nothing", "[{\"{nobody}\":[1.5,\"{x}\"]}]");
    CHECK(o && o->nulls && o->nulls->n == 1 && strcmp(o->nulls->fields[0], "x") == 0 &&
          strcmp(o->nulls->words[0], "omit") == 0);
    definition_free(d);
    CHECK(unmapped(NAMING("\"text\": \"{y}\""), 3, 9, "no mapping gives field \"y\""));
    CHECK(unmapped(NAMING("\"blocks\": {\"a\": [1, \"{x}\",\n \"{x}{e}\"]}"), 4, 2,
                   "no mapping gives field \"e\""));
    CHECK(unmapped(NAMING("\"nulls\": {\"x\": \"null\",\n\"X\": \"omit\"}"), 4, 1,
                   "no mapping gives field \"X\""));
    CHECK(refused(k, NAMING("\"text\": \"{x\""), 3, 9, "a brace that is not closed"));
    CHECK(refused(k, NAMING("\"text\": \"{}\""), 3, 9, "names nothing"));
    CHECK(refused(k, NAMING("\"text\": \"{a{b}\""), 3, 9, "not closed"));
    CHECK(refused(k, NAMING("\"blocks\": [[\"\"], \"{|x}\"]"), 3, 18, "names nothing"));
    CHECK(refused(k, NAMING("\"nulls\": {\"x\": \"none\"}"), 3, 16, "cannot be this"));
    CHECK(refused(k, NAMING("\"nulls\": \"omit\""), 3, 10, "must be an object"));
}

static void
test_not_ready(void)
{
    const char *m = "column,field,expression\nemail,e\n,x,email\n";
    const char *c = CONFIG(", \"identifier\": \"email\"");
    CHECK(not_ready(c, NULL, "upsert", "mappings.csv is missing"));
    CHECK(not_ready(NULL, m, "upsert", "config.json is missing"));
    CHECK(not_ready(c, m, NULL, "mode is missing"));
    CHECK(not_ready(c, m, "", "the file is empty"));
    CHECK(not_ready(c, m, "mirror", "not possible with driver \"db\""));
    CHECK(not_ready(c, "column,field\nemail,sealed\n", "upsert", "no upsert of 1 by sealed"));
    CHECK(not_ready(CONFIG(""), m, "upsert", "mode \"upsert\" needs an \"identifier\""));
    CHECK(not_ready(CONFIG(""), m, "full", "mode \"full\" needs an \"identifier\""));
    CHECK(not_ready(CONFIG(", \"identifier\": \"emial\""), m, "insert", "is not mapped"));
    CHECK(not_ready(c, "column,field\nemail,a\nemail,b\n", "insert", "more than one field"));
    CHECK(not_ready("{ \"source\": { \"connection\": \"nix\", \"table\": \"t\" },"
                    "\"destination\": { \"connection\": \"crm\", \"object\": \"o\" } }",
                    m, "insert",
                    "connection \"nix\" does not exist: write connections/nix.json"));
    CHECK(not_ready("{ \"source\": { \"connection\": \"bus\" },"
                    "\"destination\": { \"connection\": \"crm\", \"object\": \"o\" } }",
                    m, "insert", "is no source"));
    CHECK(not_ready("{ \"source\": { \"connection\": \"in\" },"
                    "\"destination\": { \"connection\": \"in\" } }",
                    m, "insert", "is no destination"));
    CHECK(not_ready("{ \"source\": { \"connection\": \"in\" },"
                    "\"destination\": { \"connection\": \"crm\" } }",
                    m, "insert", "\"object\" is missing"));
    static struct complaints all;
    struct definition *d = parse("{ \"source\": { \"connection\": \"in\" },"
                                 "\"destination\": { \"connection\": \"bus\" } }",
                                 m, "full", &all);
    CHECK(d && all.n == 0); /* full by insert needs no identifier */
    definition_free(d);

    d = parse("{", "x\n", "nope", &all);
    CHECK(!d && all.n == 3);
    CHECK_TEXT(all.items[0].file, "config.json");
    CHECK_TEXT(all.items[1].file, "mappings.csv");
    CHECK_TEXT(all.items[2].file, "mode");
    all.n = COMPLAINTS_MAX;
    struct sync_texts none = {.config = {NULL, 0}};
    CHECK(definition_parse(&fake_world, &none, &d, &all) == 0 && !d && all.n == COMPLAINTS_MAX);
}

#define EVENTS(event)                                                                          \
    "{\"source\":{\"connection\":\"shop\",\"table\":\"t\"},"                                   \
    "\"destination\":{\"connection\":\"bus\"},\"identifier\":\"id\",\n"                        \
    "\"type\":\"events\",\"event\":" event "}"
#define TRACK(name) EVENTS("{\"type\":\"track\",\"name\":" name "}")

static void
test_events(void)
{
    static struct complaints all;
    static const char mappings[] = "column,field\nid,id\nkind,what\nkind,again\n";
    enum text_kind k = TEXT_CONFIG;
    CHECK(accepted(k, EVENTS("{}")) && accepted(k, EVENTS("{\"type\":\"identify\"}")));
    CHECK(refused(k, EVENTS("{\"type\":\"page\"}"), 2, 33, "allowed: identify, track"));
    CHECK(refused(k, EVENTS("{\"name\":\"x\"}"), 2, 26, "only events of the type \"track\""));
    CHECK(
        refused(k, EVENTS("{\"type\":\"track\"}"), 2, 25, "\"name\" of the event is missing"));
    CHECK(refused(k, CONFIG(", \"event\": {\"type\": \"track\"}"), 2, 58,
                  "\"event\" wants \"type\": \"events\""));
    struct definition *d = parse(TRACK("\"Order paid\""), mappings, "upsert", &all);
    CHECK(d && d->type == TYPE_EVENTS && strcmp(d->event, "Order paid") == 0 &&
          !d->event_column);
    definition_free(d);
    d = parse(TRACK("{\"column\":\"kind\"}"), mappings, "insert", &all);
    CHECK(d && !d->event && d->event_field == 1);
    definition_free(d);
    d = parse(EVENTS("{\"type\":\"identify\"}"), mappings, "mirror", &all);
    CHECK(d && d->type == TYPE_RECORDS);
    definition_free(d);
    CHECK(not_ready(TRACK("{\"column\":\"kin\"}"), mappings, "upsert",
                    "column \"kin\", which names the event, is not mapped"));
    struct world world = fake_world;
    struct complaint c;
    world.destination = "bus";
    world.type = TYPE_EVENTS;
    CHECK(text_check(TEXT_MODE, &world, "mode", STR("mirror\n"), false, &c) == TEXT_BROKEN);
    CHECK_TEXT(c.text, "mode \"mirror\" is not possible with events of the type \"track\"");
}

/* ---- verdicts of growing texts ---- */

static bool
prefixes_hold(enum text_kind kind, struct str text, bool good)
{
    bool was_broken = false;
    for (size_t n = 0; n <= text.n; n++) {
        struct complaint c;
        AUTO_FREE char *copy = malloc(n + 1); /* so that ASan sees a byte too far */
        memcpy(copy, text.p, n);
        enum text_verdict v =
            text_check(kind, &fake_world, "f", (struct str){copy, n}, false, &c);
        if ((was_broken && v != TEXT_BROKEN) || (good && v == TEXT_BROKEN)) {
            printf("# at %zu: %d %s\n", n, v, c.text);
            return false;
        }
        was_broken = v == TEXT_BROKEN;
        text_check(kind, &fake_world, "f", (struct str){copy, n}, true, &c);
    }
    return true;
}

static unsigned
roll(unsigned *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

static void
mutate(char *text, size_t n, unsigned *seed)
{
    static const char pieces[] = "{}[]\",:\\\n\r#u0-9.eE\xC3\xA9\xFF \t|('";
    for (unsigned i = 1 + roll(seed) % 3; i > 0; i--)
        text[roll(seed) % n] = pieces[roll(seed) % (sizeof pieces)];
}

static void
test_growing(void)
{
    const struct {
        enum text_kind kind;
        struct str text;
    } good[] = {{TEXT_CONFIG, STR(good_config)},
                {TEXT_MAPPINGS, STR(good_mappings)},
                {TEXT_CONNECTION, STR(good_connection)},
                {TEXT_MODE, STR("upsert\n")}};
    unsigned seed = 7;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct complaint c;
        CHECK(text_check(good[i].kind, &fake_world, "f", good[i].text, false, &c) !=
              TEXT_BROKEN);
        CHECK(prefixes_hold(good[i].kind, good[i].text, true));
        bool held = true;
        for (int round = 0; round < 60 && held; round++) {
            char text[512];
            memcpy(text, good[i].text.p, good[i].text.n);
            mutate(text, good[i].text.n, &seed);
            held = prefixes_hold(good[i].kind, (struct str){text, good[i].text.n}, false);
        }
        CHECK_MSG(held, "a broken text stays broken whatever follows");
    }
}

/* ---- names, drivers, directories ---- */

static void
test_names(void)
{
    CHECK(text_kind_in_sync("config.json") == TEXT_CONFIG);
    CHECK(text_kind_in_sync("mappings.csv") == TEXT_MAPPINGS);
    CHECK(text_kind_in_sync("mode") == TEXT_MODE);
    CHECK(text_kind_in_sync("mode~") == TEXT_PLAIN);
    CHECK(text_kind_in_connections("shop.json") == TEXT_CONNECTION);
    CHECK(text_kind_in_connections("db.prod-1.json") == TEXT_CONNECTION);
    static const char *const plain[] = {".json",         ".shop.json.Ab12", "shop.json~",
                                        "shop.json.rej", "#shop.json#",     ".shop.json.swp",
                                        "4913",          "a b.json",        "shop.jsonx",
                                        ".#shop.json"};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        CHECK_MSG(text_kind_in_connections(plain[i]) == TEXT_PLAIN, plain[i]);
    AUTO_ARENA struct arena arena = ARENA_INIT;
    enum sync_type type = SYNC_TYPES;
    CHECK_TEXT(
        config_destination(STR("{\"destination\":{\"connection\":\"crm\"}}"), &arena, &type),
        "crm");
    CHECK(type == TYPE_RECORDS);
    CHECK(!config_destination(STR("{\"destination\":"), &arena, &type));
    CHECK(!config_destination((struct str){NULL, 0}, &arena, &type));
    CHECK_TEXT(config_destination(STR("{\"type\":\"audience\",\"destination\":{\"connection\":"
                                      "\"crm\"}}"),
                                  &arena, &type),
               "crm");
    CHECK(type == TYPE_AUDIENCE);
    CHECK_TEXT(config_destination(STR(EVENTS("{\"type\": \"track\"}")), &arena, &type), "bus");
    CHECK(type == TYPE_EVENTS);
    CHECK_TEXT(config_destination(STR(EVENTS("{\"type\": 1}")), &arena, &type), "bus");
    CHECK(type == TYPE_RECORDS);
}

static void
test_driver_texts(void)
{
    AUTO_BUF struct buf out = BUF_INIT(0);
    sync_modes_text(&fake_db, TYPE_RECORDS, MODE_INSERT, &out);
    CHECK_TEXT(buf_z(&out), "upsert\n[insert]\nfull\n");
    buf_clear(&out);
    sync_modes_text(&fake_db, TYPE_AUDIENCE, MODE_ADD, &out);
    CHECK_TEXT(buf_z(&out), "mirror\n[add]\nremove\n");
    buf_clear(&out);
    sync_modes_text(&fake_stream, TYPE_AUDIENCE, -1, &out);
    CHECK_TEXT(buf_z(&out), "# stream is no destination of \"type\": \"audience\"\n");
    buf_clear(&out);
    driver_modes_text(&fake_db, &out);
    CHECK_TEXT(buf_z(&out), "upsert\ninsert\nfull\n# with \"type\": \"audience\"\n"
                            "mirror\nadd\nremove\n");
    buf_clear(&out);
    driver_modes_text(&fake_file, &out);
    CHECK_TEXT(buf_z(&out), "# file is a source only\n");
    buf_clear(&out);
    driver_options_json(&fake_db, &out);
    json_t *root = json_loadb(buf_z(&out), out.n, JSON_REJECT_DUPLICATES, NULL);
    CHECK(root != NULL);
    json_t *properties = json_object_get(root, "properties");
    CHECK(json_is_false(json_object_get(root, "additionalProperties")));
    CHECK(json_array_size(json_object_get(root, "required")) == 2);
    CHECK(json_object_size(properties) == 8);
    json_t *port = json_object_get(properties, "port");
    CHECK(json_integer_value(json_object_get(port, "default")) == 5432);
    json_t *delimiter = json_object_get(properties, "delimiter");
    CHECK_TEXT(json_string_value(json_object_get(delimiter, "default")), "\"");
    CHECK(json_array_size(json_object_get(json_object_get(properties, "tls"), "enum")) == 3);
    json_t *defs = json_object_get(root, "$defs");
    CHECK(json_array_size(json_object_get(json_object_get(defs, "secret"), "oneOf")) == 3);
    CHECK(json_object_get(defs, "source") && json_object_get(defs, "destination"));
    json_decref(root);
}

static void
put(const char *dir, const char *name, const char *text)
{
    AUTO_FREE char *path = NULL;
    if (asprintf(&path, "%s/%s", dir, name) < 0)
        return;
    for (char *slash = strchr(path + strlen(dir) + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0755);
        *slash = '/';
    }
    AUTO_FCLOSE FILE *f = fopen(path, "we");
    if (f)
        fputs(text, f);
}

static void
test_directory(void)
{
    char dir[] = "/tmp/test-define-XXXXXX";
    CHECK(mkdtemp(dir) != NULL);
    put(dir, "connections/shop.json", good_connection);
    put(dir, "connections/crm.json", "{ \"driver\": \"db\" }");
    put(dir, "syncs/a/config.json", good_config);
    put(dir, "syncs/a/mapings.csv", good_mappings);
    put(dir, "syncs/a/mode", "upsert\n");
    put(dir, "README.md", "x");
    unsigned checked;
    struct error err = ERROR_INIT;
    AUTO_BUF struct buf out = BUF_INIT(0);
    AUTO_FREE char *want = NULL;
    CHECK(asprintf(&want,
                   "%s/connections/crm.json:1:1: error: \"path\" is missing\n"
                   "  { \"driver\": *** }\n"
                   "  ^\n"
                   "the file to open\n"
                   "%s/syncs/a: error: mappings.csv is missing\n"
                   "%s/syncs/a/config.json:2:34: error: connection \"crm\" is not in order: "
                   "see connections/crm.json\n"
                   "    \"destination\": { \"connection\": \"crm\", \"object\": \"o\" },\n"
                   "                                   ^\n"
                   "%s/syncs/a/mapings.csv: note: not a file that is read: did you mean "
                   "\"mappings.csv\"?\n",
                   dir, dir, dir, dir) > 0);
    CHECK(check_directory(dir, &out, &checked, &err) == 3);
    CHECK_TEXT(buf_z(&out), want);
    CHECK(checked == 4);

    put(dir, "connections/crm.json", good_connection);
    put(dir, "syncs/a/mappings.csv", good_mappings);
    buf_clear(&out);
    CHECK(check_directory(dir, &out, &checked, &err) == 0 && checked == 5);
    AUTO_FREE char *syncs = NULL, *one = NULL, *link = NULL;
    CHECK(asprintf(&syncs, "%s/syncs", dir) > 0 && asprintf(&one, "%s/a/", syncs) > 0);
    CHECK(check_directory(syncs, &out, &checked, &err) == 0 && checked == 3);
    CHECK(check_directory(one, &out, &checked, &err) == 0 && checked == 3);

    CHECK(asprintf(&link, "%s/mode", one) > 0 && unlink(link) == 0);
    CHECK(symlink("/etc/passwd", link) == 0);
    buf_clear(&out);
    CHECK(check_directory(dir, &out, &checked, &err) > 0);
    CHECK(strstr(buf_z(&out), "a symbolic link is not followed") != NULL);
    CHECK(check_directory("/no/such", &out, &checked, &err) == -ENOENT);

    AUTO_FREE char *remove = NULL;
    /* NOLINTNEXTLINE(cert-env33-c): a test's own directory, of mkdtemp's name */
    CHECK(asprintf(&remove, "rm -r %s", dir) > 0 && system(remove) == 0);
}

int
main(void)
{
    test_config();
    test_json();
    test_render();
    test_mappings();
    test_mode();
    test_no_memory();
    test_connection();
    test_definition();
    test_not_ready();
    test_fields_named();
    test_events();
    test_growing();
    test_names();
    test_driver_texts();
    test_directory();
    return tap_done();
}
