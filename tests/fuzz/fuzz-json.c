/*
 * config.json and connections/NAME.json, as they are written piece by piece: what becomes good
 * was never called broken on the way, and the recogniser agrees with jansson.
 */
#include "../unit/define-fake.h"
#include "base/cleanup.h"
#include "base/utf8.h"
#include "define/json_text.h"
#include "define/parse.h"
#include "fuzz.h"

static void
check_pieces(enum text_kind kind, struct str text)
{
    enum { PIECES = 16 };
    struct complaint c;
    if (text_check(kind, &fake_world, "f", text, true, &c) != TEXT_OK)
        return;
    for (size_t i = 0; i <= PIECES; i++) {
        struct str piece = {text.p, text.n * i / PIECES};
        MUST(text_check(kind, &fake_world, "f", piece, false, &c) != TEXT_BROKEN);
    }
}

static void
check_recogniser(struct str text)
{
    struct json_fault fault = {0};
    struct json_node root = {0};
    struct complaint c;
    const struct text_file f = {.name = "f", .text = text};
    enum text_verdict said = json_recognise(text, &fault);
    if (said == TEXT_BROKEN)
        MUST(fault.at <= text.n && fault.text);
    enum text_verdict opened = json_open(&f, true, &root, &c);
    if (opened == TEXT_OK) {
        MUST(said == TEXT_OK);
        json_decref(root.json);
    } else if (said == TEXT_OK) {
        /* ours is one pass: what needs memory (keys twice, a real too large) jansson finds */
        MUST(opened == TEXT_BROKEN && c.text[0]);
    }
}

static void
check_definition(struct str text)
{
    const struct sync_texts texts = {
        .config = text,
        .mappings = STR("column,field,expression\nid,id,\nname,Name,\n,x,a || b\n"),
        .mode = STR("upsert\n"),
    };
    AUTO_ARENA struct arena arena = ARENA_INIT;
    struct definition *d = NULL;
    static struct complaints complaints;
    complaints.n = 0;
    definition_parse(&fake_world, &texts, &d, &complaints);
    MUST(!d == (complaints.n > 0));
    for (size_t i = 0; i < complaints.n; i++) {
        AUTO_BUF struct buf out = BUF_INIT(BUF_NO_MAX);
        complaint_render(&complaints.items[i], &out);
        MUST(out.n > 0 && utf8_check(out.p, out.n) == out.n);
    }
    definition_free(d);
    config_destination(text, &arena, &(enum sync_type){0});
}

static void
check_connection(struct str text)
{
    AUTO_BUF struct buf masked = BUF_INIT(BUF_NO_MAX);
    struct connection *connection = NULL;
    struct complaint c = {0};
    if (connection_parse(NULL, "x", text, &connection, &c))
        MUST(c.text[0]);
    connection_free(connection);
    connection_mask(text, &masked);
    MUST(!masked.failed);
    /* A secret in plain text is seen in no complaint and not in what is kept of it. */
    static const char begin[] = "{\"pass\":\"Q7ZQ7Z";
    static const size_t n = sizeof begin - 1, secret_n = 6;
    if (text.n < n || memcmp(text.p, begin, n) != 0)
        return;
    const char *secret = begin + n - secret_n;
    if (memmem(text.p + n, text.n - n, secret, secret_n))
        return; /* as a key, perhaps */
    AUTO_BUF struct buf out = BUF_INIT(BUF_NO_MAX);
    complaint_render(&c, &out);
    MUST(!strstr(buf_z(&out), secret));
    MUST(!memmem(buf_z(&masked), masked.n, secret, secret_n));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str text = {(const char *)data, n};
    check_recogniser(text);
    check_pieces(TEXT_CONFIG, text);
    check_pieces(TEXT_CONNECTION, text);
    check_definition(text);
    check_connection(text);
    return 0;
}
