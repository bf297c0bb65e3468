/* `schedule`: what is good was never broken on the way, and what is due is later than now. */
#include "../unit/define-fake.h"
#include "base/cleanup.h"
#include "define/schedule.h"
#include "fuzz.h"

static void
check_moments(const struct schedule *s)
{
    static const usec_t from[] = {
        0, 1, 951825599999999, 1711846800000000, 1729990799999999, 4102444800000000};
    for (size_t i = 0; i < sizeof from / sizeof *from; i++) {
        usec_t next = schedule_next(s, from[i]);
        MUST(next == 0 || next > from[i]);
        if (next)
            MUST(schedule_next(s, next - 1) == next);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    enum { PIECES = 16 };
    AUTO_ARENA struct arena arena = ARENA_INIT;
    struct str text = {(const char *)data, n};
    const struct text_file f = {.name = "schedule", .text = text};
    struct schedule schedule;
    struct complaint c = {0};
    if (n > text_max(TEXT_SCHEDULE)) {
        MUST(text_check(TEXT_SCHEDULE, &fake_world, "schedule", text, true, &c) == TEXT_BROKEN);
        return 0;
    }
    enum text_verdict v = schedule_check(&f, true, &arena, &schedule, &c);
    MUST(v == text_check(TEXT_SCHEDULE, &fake_world, "schedule", text, true, &c));
    if (v != TEXT_OK) {
        MUST(v == TEXT_BROKEN && c.text[0]);
        return 0;
    }
    check_moments(&schedule);
    for (size_t i = 0; i <= PIECES; i++) {
        struct str piece = {text.p, n * i / PIECES};
        MUST(text_check(TEXT_SCHEDULE, &fake_world, "schedule", piece, false, &c) !=
             TEXT_BROKEN);
    }
    return 0;
}
