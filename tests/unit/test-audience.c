/* Syncs that are audiences: which modes, drivers and options they may have, and when a text
 * that says otherwise is refused. */
#include "define/define.h"

#include "base/cleanup.h"
#include "define-fake.h"
#include "tap.h"

#define CONFIG(destination, more)                                                              \
    "{ \"source\": { \"connection\": \"shop\", \"table\": \"t\" }, \"identifier\": \"email\"," \
    " \"destination\": { " destination " }" more " }\n"
#define AUDIENCE ", \"type\": \"audience\""
#define CRM "\"connection\": \"crm\", \"object\": \"o\""

/* A text is good, or (words) refused at once with these words and this hint. */
static bool
says(enum text_kind kind, const struct world *world, const char *text, const char *words,
     const char *hint)
{
    struct complaint c;
    enum text_verdict v = text_check(kind, world, "f", str_of(text), true, &c);
    bool ok = words ? v == TEXT_BROKEN && strstr(c.text, words) && strstr(c.hint, hint)
                    : v == TEXT_OK;
    if (!ok)
        printf("# verdict %d: %s (%s)\n", v, c.text, c.hint);
    return ok;
}

static bool
config_says(const char *text, const char *words, const char *hint)
{
    return says(TEXT_CONFIG, &fake_world, text, words, hint);
}

static void
test_config(void)
{
    CHECK(config_says(CONFIG(CRM, AUDIENCE), NULL, NULL));
    CHECK(config_says(CONFIG(CRM ", \"list\": \"vip\"", AUDIENCE), NULL, NULL));
    CHECK(config_says(CONFIG(CRM, ", \"type\": \"audiance\""), "unknown type \"audiance\"",
                      "did you mean \"audience\"? possible: records, audience"));
    CHECK(config_says(CONFIG(CRM, ", \"type\": 7"), "must be a string", ""));
    CHECK(config_says(CONFIG("\"connection\": \"bus\"", AUDIENCE),
                      "type \"audience\" is not possible with driver \"stream\"",
                      "possible: records"));
    /* a driver that nobody knows yet is not judged */
    CHECK(config_says(CONFIG("\"connection\": \"new\"", AUDIENCE), NULL, NULL));
    /* what the driver itself refuses */
    CHECK(
        config_says(CONFIG(CRM ", \"list\": \"vip\"", ""), "\"list\" is for an audience", ""));
}

/* `mode` written into a sync of that type. */
static bool
mode_says(enum sync_type type, const char *destination, const char *mode, const char *words,
          const char *hint)
{
    struct world world = fake_world;
    world.destination = destination;
    world.type = type;
    return says(TEXT_MODE, &world, mode, words, hint);
}

static void
test_mode(void)
{
    CHECK(mode_says(TYPE_AUDIENCE, "crm", "add\n", NULL, NULL));
    CHECK(mode_says(TYPE_AUDIENCE, "crm", "mirror", NULL, NULL));
    CHECK(mode_says(TYPE_AUDIENCE, "crm", "upsert",
                    "mode \"upsert\" is not possible with driver \"db\"",
                    "possible: mirror, add, remove"));
    CHECK(mode_says(TYPE_AUDIENCE, "crm", "insert",
                    "mode \"insert\" is not possible with \"type\": \"audience\"",
                    "possible: mirror, add, remove"));
    CHECK(mode_says(TYPE_RECORDS, "crm", "remove",
                    "mode \"remove\" is not possible with \"type\": \"records\"",
                    "possible: upsert, insert, full"));
    /* a connection that does not exist yet: only what no driver could do is refused */
    CHECK(mode_says(TYPE_AUDIENCE, "new", "upsert", NULL, NULL));
    CHECK(mode_says(TYPE_AUDIENCE, "new", "full", "\"type\": \"audience\"",
                    "possible: upsert, mirror, add, remove"));
    /* no config.json yet */
    CHECK(mode_says(TYPE_RECORDS, NULL, "remove", NULL, NULL));
    CHECK(mode_says(TYPE_RECORDS, NULL, "insert", NULL, NULL));
}

static struct definition *
parse(const char *config, const char *mode, struct complaints *all)
{
    struct sync_texts texts = {str_of(config), STR("column,field\nemail,e\n"), str_of(mode)};
    struct definition *d;
    *all = (struct complaints){.n = 0};
    CHECK(definition_parse(&fake_world, &texts, &d, all) == 0);
    return d;
}

static void
test_definition(void)
{
    static struct complaints all;
    struct definition *d = parse(CONFIG(CRM ", \"list\": \"vip\"", AUDIENCE), "remove\n", &all);
    CHECK(d && d->type == TYPE_AUDIENCE && d->mode == MODE_REMOVE);
    if (d)
        CHECK_TEXT(d->dest_part, "list=vip");
    definition_free(d);

    d = parse(CONFIG(CRM, ""), "upsert\n", &all);
    CHECK(d && d->type == TYPE_RECORDS && !d->dest_part);
    definition_free(d);

    /* the type was changed, and the mode was not */
    d = parse(CONFIG(CRM, AUDIENCE), "insert", &all);
    CHECK(!d && all.n == 1 && strcmp(all.items[0].file, "mode") == 0);
    definition_free(d);

    d = parse("{ \"source\": { \"connection\": \"shop\", \"table\": \"t\" },"
              " \"destination\": { " CRM " }" AUDIENCE " }",
              "remove", &all);
    CHECK(!d && all.n == 1 && strstr(all.items[0].text, "needs an \"identifier\""));
    definition_free(d);
}

int
main(void)
{
    test_config();
    test_mode();
    test_definition();
    return tap_done();
}
