/*
 * The text of `schedule`: "off", "every 15m", "cron 0 6 * * mon-fri Europe/Berlin"; and when it
 * is due.
 */
#pragma once

#include "base/clock.h"
#include "define/complaint.h"
#include "define/zone.h"

enum schedule_kind { SCHEDULE_OFF, SCHEDULE_EVERY, SCHEDULE_CRON };

struct schedule {
    enum schedule_kind kind;
    usec_t interval;               /* every: whole intervals since 1970-01-01T00:00Z */
    uint64_t minutes, hours;       /* cron: bit n is the value n */
    uint64_t days, months;         /* from 1 */
    uint64_t weekdays;             /* Sunday is 0 */
    bool days_open, weekdays_open; /* the field begins with '*' */
    const struct zone *zone;       /* in the arena; NULL: UTC */
};

/* A blank text is "off". What the text says goes to *ret (in arena) when TEXT_OK. */
enum text_verdict schedule_check(const struct text_file *f, bool final, struct arena *arena,
                                 struct schedule *ret, struct complaint *c);
/* The first moment after `after` at which it is due; 0: never. */
usec_t schedule_next(const struct schedule *s, usec_t after);
