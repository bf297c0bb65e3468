/*
 * mappings.csv and mode, as they are written piece by piece, and the definition they make
 * together with a config.json.
 */
#include "../unit/define-fake.h"
#include "base/cleanup.h"
#include "base/utf8.h"
#include "fuzz.h"

static void
check_pieces(enum text_kind kind, struct str text)
{
    enum { PIECES = 16 };
    struct complaint c;
    enum text_verdict v = text_check(kind, &fake_world, "f", text, true, &c);
    if (v != TEXT_OK) {
        AUTO_BUF struct buf out = BUF_INIT(BUF_NO_MAX);
        complaint_render(&c, &out);
        MUST(c.text[0] && utf8_check(out.p, out.n) == out.n);
        return;
    }
    for (size_t i = 0; i <= PIECES; i++) {
        struct str piece = {text.p, text.n * i / PIECES};
        MUST(text_check(kind, &fake_world, "f", piece, false, &c) != TEXT_BROKEN);
    }
}

static void
check_definition(struct str text)
{
    const struct sync_texts texts = {
        .config = STR("{\"source\":{\"connection\":\"shop\",\"table\":\"t\"},\"destination\":"
                      "{\"connection\":\"crm\",\"object\":\"o\"},\"identifier\":\"id\"}"),
        .mappings = text,
        .mode = STR("upsert\n"),
    };
    struct definition *d = NULL;
    static struct complaints complaints;
    complaints.n = 0;
    definition_parse(&fake_world, &texts, &d, &complaints);
    MUST(!d == (complaints.n > 0));
    for (size_t i = 0; d && i < d->nmappings; i++) {
        const struct mapping *m = &d->mappings[i];
        MUST(!m->column != !m->expression);
        MUST(m->field[0] && utf8_check(m->field, strlen(m->field)) == strlen(m->field));
        for (size_t k = 0; k < i; k++)
            MUST(strcmp(d->mappings[k].field, m->field) != 0);
    }
    definition_free(d);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str text = {(const char *)data, n};
    check_pieces(TEXT_MAPPINGS, text);
    check_pieces(TEXT_MODE, text);
    check_definition(text);
    return 0;
}
