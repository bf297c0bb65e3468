/*
 * Files of the time zone database: clocks go on, changes are found in order, and a schedule in
 * that zone is due later than now.
 */
#include "base/cleanup.h"
#include "define/schedule.h"
#include "fuzz.h"

static void
check_offsets(const struct zone *z, int64_t t)
{
    int64_t until;
    int64_t offset = zone_offset(z, t, &until);
    MUST(until > t && offset > -172800 && offset < 172800);
    int64_t utc = zone_to_utc(z, t);
    MUST(utc + zone_offset(z, utc, &until) >= t);
    MUST(zone_to_utc(z, t + 60) >= utc);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    AUTO_ARENA struct arena arena = ARENA_INIT;
    struct zone *z = NULL;
    if (zone_parse((struct str){(const char *)data, n}, &arena, &z))
        return 0;
    int64_t t = 0, until;
    for (int i = 0; i < 50 && t < INT64_C(253402300800); i++) {
        check_offsets(z, t);
        zone_offset(z, t, &until);
        check_offsets(z, until < INT64_C(253402300800) ? until - 1 : t + 1);
        t = until;
    }
    struct schedule s;
    struct complaint c;
    const struct text_file f = {.name = "schedule", .text = STR("cron 30 2 * * *")};
    MUST(schedule_check(&f, true, &arena, &s, &c) == TEXT_OK);
    s.zone = z;
    for (usec_t now = 1711756800000000, i = 0; i < 10; i++) {
        usec_t next = schedule_next(&s, now);
        MUST(next == 0 || next > now);
        now = next ? next : now + 1;
    }
    return 0;
}
