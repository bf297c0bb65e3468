/* Schedules: see schedule.h. Fields are those of cron(5), with names also in lists and ranges;
 * what cron would take and never or hardly do (a step beyond the field, 30 February) is
 * refused.
 */
#include "define/schedule.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/civil.h"
#include "base/words.h"
#include "define/parse.h"

#define SECOND INT64_C(1000000)
#define DAY (INT64_C(86400) * SECOND)
enum {
    DAYS_MAX = 366,        /* of "every" */
    SEARCH_DAYS = 41 * 366 /* 29 February on one weekday comes within 40 years */
};
#define YEAR_10000 (INT64_C(253402300800) * SECOND)

struct parser {
    const struct text_file *f;
    struct str rest;
    struct complaint *c;
    bool open; /* the word that was complained of ends with the text */
};

struct field {
    const char *name;
    unsigned low, high;
    const char *const *names; /* of `low`, `low` + 1, …; NULL */
    unsigned nnames;
};

static const char *const month_names[] = {"jan", "feb", "mar", "apr", "may", "jun",
                                          "jul", "aug", "sep", "oct", "nov", "dec"};
static const char *const weekday_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

static const struct field fields[] = {
    {"minute", 0, 59, NULL, 0},
    {"hour", 0, 23, NULL, 0},
    {"day of month", 1, 31, NULL, 0},
    {"month", 1, 12, month_names, 12},
    {"day of week", 0, 7, weekday_names, 7},
};
enum { FIELDS = sizeof fields / sizeof *fields };

static const char FORM[] =
    "write: off, every 15m, or cron MINUTE HOUR DAY MONTH WEEKDAY [Area/City]";

/* ---- words ---- */

static bool
is_blank(char ch)
{
    return ch == ' ' || ch == '\t' || ch == '\n' || ch == '\r';
}

/* The next word; n = 0 at the end, standing behind the last one. */
static struct str
next_word(struct parser *p)
{
    struct str word;
    const char *from = p->rest.p;
    while (p->rest.n && is_blank(*p->rest.p)) {
        p->rest.p++;
        p->rest.n--;
    }
    word = (struct str){p->rest.p, 0};
    while (p->rest.n && !is_blank(*p->rest.p)) {
        p->rest.p++;
        p->rest.n--;
        word.n++;
    }
    if (word.n == 0)
        word.p = from;
    return word;
}

/* Complains of the word that `at` points into, or of the one that is missing there. */
static bool
refuse(struct parser *p, const char *at, const char *hint, const char *what, struct str quoted)
{
    const char *end = p->f->text.p + p->f->text.n, *stop = at;
    while (stop < end && is_blank(*stop))
        stop++;
    while (stop < end && !is_blank(*stop))
        stop++;
    p->open = stop == end;
    size_t n = quoted.n < 40 ? quoted.n : 40;
    complain(p->c, p->f, (size_t)(at - p->f->text.p), hint, "%s%s%.*s%s", what, n ? " \"" : "",
             (int)n, quoted.p ? quoted.p : "", n ? "\"" : "");
    return false;
}

/* Digits alone; at most 4 of them. */
static bool
read_number(struct str *s, unsigned *ret)
{
    size_t n = 0;
    for (*ret = 0; n < s->n && n < 5 && s->p[n] >= '0' && s->p[n] <= '9'; n++)
        *ret = *ret * 10 + (unsigned)(s->p[n] - '0');
    s->p += n;
    s->n -= n;
    return n > 0 && n < 5;
}

/* ---- every ---- */

static bool
parse_every(struct parser *p, struct schedule *s)
{
    static const char hint[] = "write a number and m, h or d, at least 1m: every 15m";
    struct str word = next_word(p), left = word;
    unsigned number;
    if (word.n == 0)
        return refuse(p, word.p, hint, "an interval is missing", (struct str){0});
    if (!read_number(&left, &number) || left.n != 1 || !memchr("mhd", *left.p, 3))
        return refuse(p, word.p, hint, "not an interval:", word);
    s->interval = (*left.p == 'm' ? 60 : *left.p == 'h' ? 3600 : 86400) * SECOND * number;
    if (number == 0)
        return refuse(p, word.p, "at least 1m", "an interval of nothing:", word);
    if (s->interval > DAYS_MAX * DAY)
        return refuse(p, word.p, "at most 366d", "too long an interval:", word);
    return true;
}

/* ---- cron ---- */

static bool
refuse_value(struct parser *p, const struct field *f, const char *at, struct str what)
{
    char hint[ERROR_TEXT_MAX];
    struct buf out = BUF_INIT(sizeof hint - 1);
    buf_addf(&out, "allowed: %u to %u", f->low, f->high);
    for (unsigned i = 0; i < f->nnames; i++)
        buf_addf(&out, "%s%s", i ? ", " : "; ", f->names[i]);
    buf_adds(&out, "; lists 1,2, ranges 1-5, steps */2");
    snprintf(hint, sizeof hint, "%s", buf_z(&out));
    buf_done(&out);
    char sentence[64];
    snprintf(sentence, sizeof sentence, "not a %s:", f->name);
    return refuse(p, at, hint, sentence, what);
}

static bool
read_value(struct str *s, const struct field *f, unsigned *ret)
{
    for (unsigned i = 0; i < f->nnames && s->n >= 3; i++)
        if (strncasecmp(s->p, f->names[i], 3) == 0) {
            *ret = f->low + i;
            s->p += 3;
            s->n -= 3;
            return true;
        }
    return read_number(s, ret) && *ret >= f->low && *ret <= f->high;
}

/* One part of a list: a value, a range, or all of them; with or without a step. */
static bool
parse_item(struct parser *p, const struct field *f, struct str item, uint64_t *bits)
{
    struct str s = item;
    unsigned low = f->low, high = f->high, step = 1;
    bool range = s.n && *s.p == '*';
    if (range) {
        s.p++;
        s.n--;
    } else {
        if (!read_value(&s, f, &low))
            return refuse_value(p, f, item.p, item);
        high = low;
        if (s.n && *s.p == '-') {
            range = true;
            s.p++;
            s.n--;
            if (!read_value(&s, f, &high))
                return refuse_value(p, f, item.p, item);
            if (high == 0 && low > 0 && f->names)
                high = f->high; /* "fri-sun" */
        }
    }
    if (s.n && *s.p == '/') {
        s.p++;
        s.n--;
        if (!range)
            return refuse(p, item.p, "a step needs a range: 5-59/15, or */15",
                          "a step without a range:", item);
        if (!read_number(&s, &step) || step == 0 || step > f->high)
            return refuse(p, item.p, "from 1 to the largest value of the field",
                          "not a step of that field:", item);
    }
    if (s.n)
        return refuse_value(p, f, item.p, item);
    if (low > high)
        return refuse(p, item.p, "a range goes upwards; write two: 22-23,0-5",
                      "a range that goes backwards:", item);
    for (unsigned i = low; i <= high; i += step)
        *bits |= UINT64_C(1) << i;
    return true;
}

static bool
parse_field(struct parser *p, const struct field *f, uint64_t *bits, bool *open)
{
    struct str word = next_word(p);
    if (word.n == 0) {
        char sentence[64];
        snprintf(sentence, sizeof sentence, "the %s is missing", f->name);
        return refuse(p, word.p, FORM, sentence, (struct str){0});
    }
    *open = *word.p == '*';
    for (struct str rest = word;;) {
        const char *comma = memchr(rest.p, ',', rest.n);
        struct str item = {rest.p, comma ? (size_t)(comma - rest.p) : rest.n};
        if (item.n == 0)
            return refuse_value(p, f, word.p, word);
        if (!parse_item(p, f, item, bits))
            return false;
        if (!comma)
            return true;
        rest = (struct str){comma + 1, rest.n - item.n - 1};
    }
}

static bool
parse_zone(struct parser *p, struct arena *arena, struct schedule *s)
{
    struct str word = next_word(p);
    if (word.n == 0 || str_is(word, "UTC"))
        return true;
    struct zone *zone = NULL;
    int rc = zone_load(word, arena, &zone);
    s->zone = zone;
    if (rc == -ENOMEM)
        return refuse(p, word.p, NULL, "out of memory", (struct str){0});
    if (rc == -EINVAL)
        return refuse(p, word.p, "its file in /usr/share/zoneinfo cannot be used",
                      "not a usable time zone:", word);
    if (rc < 0)
        return refuse(p, word.p,
                      "write Area/City as in /usr/share/zoneinfo (package tzdata), as "
                      "Europe/Berlin, or nothing for UTC",
                      "unknown time zone", word);
    return true;
}

/* Whether a month that is asked for has a day that is asked for. */
static bool
has_a_day(const struct schedule *s)
{
    static const unsigned longest[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (!s->days_open && !s->weekdays_open)
        return true; /* either is enough */
    for (unsigned m = 1; m <= 12; m++)
        if (s->months >> m & 1 && s->days & ((UINT64_C(2) << longest[m - 1]) - 1))
            return true;
    return false;
}

static bool
parse_cron(struct parser *p, struct arena *arena, struct schedule *s)
{
    uint64_t *const to[FIELDS] = {&s->minutes, &s->hours, &s->days, &s->months, &s->weekdays};
    bool open[FIELDS];
    const char *days = p->rest.p;
    for (size_t i = 0; i < FIELDS; i++) {
        if (!parse_field(p, &fields[i], to[i], &open[i]))
            return false;
        if (i == 1)
            days = p->rest.p;
    }
    s->days_open = open[2];
    s->weekdays_open = open[4];
    if (s->weekdays >> 7 & 1)
        s->weekdays = (s->weekdays | 1) & 0x7F;
    while (is_blank(*days))
        days++;
    if (!has_a_day(s))
        return refuse(p, days, "no month that is named has such a day",
                      "a day that never comes", (struct str){0});
    return parse_zone(p, arena, s);
}

/* ---- the text ---- */

static bool
parse(struct parser *p, struct arena *arena, struct schedule *s)
{
    static const struct words allowed = {.items = {"off", "every", "cron"}, .n = 3};
    struct str word = next_word(p);
    bool good = true;
    if (str_is(word, "every")) {
        s->kind = SCHEDULE_EVERY;
        good = parse_every(p, s);
    } else if (str_is(word, "cron")) {
        s->kind = SCHEDULE_CRON;
        good = parse_cron(p, arena, s);
    } else if (!str_is(word, "off")) {
        char shown[32] = "", hint[ERROR_TEXT_MAX];
        memcpy(shown, word.p, word.n < sizeof shown ? word.n : sizeof shown - 1);
        const char *nearest = words_nearest(&allowed, shown);
        snprintf(hint, sizeof hint, "%s%s%s%s", nearest ? "did you mean \"" : "",
                 nearest ? nearest : "", nearest ? "\"? " : "", FORM);
        return refuse(p, word.p, hint, "unknown schedule", word);
    }
    if (!good)
        return false;
    word = next_word(p);
    return word.n == 0 || refuse(p, word.p, FORM, "nothing may follow:", word);
}

enum text_verdict
schedule_check(const struct text_file *f, bool final, struct arena *arena, struct schedule *ret,
               struct complaint *c)
{
    struct parser p = {.f = f, .rest = f->text, .c = c};
    *ret = (struct schedule){.kind = SCHEDULE_OFF};
    if (next_word(&p).n == 0)
        return final ? TEXT_OK : TEXT_INCOMPLETE;
    p.rest = f->text;
    if (parse(&p, arena, ret))
        return TEXT_OK;
    if (final || !p.open)
        return TEXT_BROKEN;
    *c = (struct complaint){.line = 0};
    return TEXT_INCOMPLETE;
}

/* ---- when ---- */

static int64_t
floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* cron(5): of two restricted day fields either is enough. */
static bool
day_matches(const struct schedule *s, int64_t days)
{
    int64_t year;
    unsigned month, day, weekday = (unsigned)(((days + 4) % 7 + 7) % 7);
    civil_date(days, &year, &month, &day);
    bool by_day = s->days >> day & 1, by_weekday = s->weekdays >> weekday & 1;
    bool both = s->days_open || s->weekdays_open;
    return s->months >> month & 1 && (both ? by_day && by_weekday : by_day || by_weekday);
}

static usec_t
cron_next(const struct schedule *s, usec_t after)
{
    int64_t t = floor_div(after, SECOND), until;
    int64_t local = t + (s->zone ? zone_offset(s->zone, t, &until) : 0);
    int64_t first = floor_div(local, 86400);
    /* zone_to_utc never goes back when local time goes on: the first that is later is it. */
    int64_t minute = floor_div(local - first * 86400, 60);
    for (int64_t day = first; day < first + SEARCH_DAYS; day++, minute = 0) {
        if (!day_matches(s, day))
            continue;
        for (; minute < 1440; minute++) {
            if (!(s->hours >> (minute / 60) & 1) || !(s->minutes >> (minute % 60) & 1))
                continue;
            local = day * 86400 + minute * 60;
            usec_t due = (s->zone ? zone_to_utc(s->zone, local) : local) * SECOND;
            if (due > after)
                return due;
        }
    }
    return 0;
}

usec_t
schedule_next(const struct schedule *s, usec_t after)
{
    if (s->kind == SCHEDULE_OFF || after < 0 || after >= YEAR_10000)
        return 0;
    if (s->kind == SCHEDULE_EVERY)
        return (after / s->interval + 1) * s->interval;
    return cron_next(s, after);
}
