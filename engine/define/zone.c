/* Time zones: see zone.h. A file is a table of changes of the offset, and after its end a rule
 * in the syntax of POSIX's TZ ("CET-1CEST,M3.5.0,M10.5.0/3") that holds for all years to come.
 */
#include "define/zone.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/civil.h"
#include "base/cleanup.h"

#define ZONES "/usr/share/zoneinfo/"
enum {
    DAY = 86400,
    ZONE_FILE_MAX = 1 << 20,
    ZONE_NAME_MAX = 64,
    HEADER = 44,
    OFFSET_MAX = 26 * 3600 /* RFC 8536: offsets lie well within */
};

struct rule_day { /* when within a year, and at what wall-clock second of that day */
    char kind;    /* 'M': week and weekday; 'J': 1 … 365 without leap day; 'D': 0 … 365 */
    unsigned month, week, day;
    int64_t second;
};

struct rule {
    bool has_summer;
    int64_t standard, summer; /* seconds east */
    struct rule_day start, end;
};

struct change {
    int64_t at, offset;
};

struct zone {
    int64_t first; /* the offset before any change */
    struct change *changes;
    size_t n;
    bool has_rule;
    struct rule rule; /* from the last change on */
};

/* ---- dates ---- */

static bool
is_leap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int64_t
year_of(int64_t t)
{
    int64_t year;
    unsigned month, day;
    civil_date((t >= 0 ? t : t - DAY + 1) / DAY, &year, &month, &day);
    return year;
}

/* ---- the rule for years to come ---- */

/* Reads a number of at most that many; -1: there is none, or it is larger. */
static int64_t
rule_number(const char **p, int64_t max)
{
    int64_t v = 0;
    const char *start = *p;
    for (; **p >= '0' && **p <= '9' && v <= max; (*p)++)
        v = v * 10 + (**p - '0');
    return *p == start || v > max ? -1 : v;
}

/* [+-]hh[:mm[:ss]] in seconds. */
static bool
rule_time(const char **p, int64_t *ret)
{
    int64_t sign = **p == '-' ? -1 : 1, unit = 3600, sum = 0;
    if (**p == '-' || **p == '+')
        (*p)++;
    for (int part = 0; part < 3; part++, unit /= 60) {
        int64_t v = rule_number(p, part ? 59 : 167);
        if (v < 0)
            return false;
        sum += v * unit;
        if (**p != ':')
            break;
        (*p)++;
    }
    *ret = sign * sum;
    return true;
}

static bool
rule_name(const char **p)
{
    const char *start = *p;
    if (**p == '<') {
        *p += strcspn(*p, ">");
        return *(*p)++ == '>';
    }
    while ((**p >= 'A' && **p <= 'Z') || (**p >= 'a' && **p <= 'z'))
        (*p)++;
    return *p - start >= 3;
}

static bool
rule_day(const char **p, struct rule_day *ret)
{
    *ret = (struct rule_day){.kind = 'D', .second = INT64_C(7200)};
    int64_t month = 1, week = 1, day;
    if (*(*p)++ != ',')
        return false;
    if (**p == 'M' || **p == 'J')
        ret->kind = *(*p)++;
    if (ret->kind == 'M') {
        month = rule_number(p, 12);
        week = *(*p) == '.' ? ((*p)++, rule_number(p, 5)) : -1;
        day = *(*p) == '.' ? ((*p)++, rule_number(p, 6)) : -1;
    } else {
        day = rule_number(p, 365);
    }
    if (month < 1 || week < 1 || day < (ret->kind == 'J'))
        return false;
    ret->month = (unsigned)month;
    ret->week = (unsigned)week;
    ret->day = (unsigned)day;
    if (**p != '/')
        return true;
    (*p)++;
    return rule_time(p, &ret->second);
}

/* How far from UTC, in seconds to the east (the text has it to the west). */
static bool
rule_offset_east(const char **p, int64_t *ret)
{
    int64_t west;
    if (!rule_time(p, &west) || west <= -OFFSET_MAX || west >= OFFSET_MAX)
        return false;
    *ret = -west;
    return true;
}

static bool
parse_rule(const char *p, struct rule *r)
{
    int64_t east;
    if (!rule_name(&p) || !rule_offset_east(&p, &east))
        return false;
    *r = (struct rule){.standard = east};
    if (*p == '\0')
        return true;
    if (!rule_name(&p))
        return false;
    r->has_summer = true;
    r->summer = r->standard + 3600;
    if (*p != ',') {
        if (!rule_offset_east(&p, &r->summer))
            return false;
    }
    return r->summer < OFFSET_MAX && rule_day(&p, &r->start) && rule_day(&p, &r->end) &&
           *p == '\0';
}

/* Seconds since 1970 as the wall clock shows them when that day of the year begins to count. */
static int64_t
rule_moment(const struct rule_day *d, int64_t year)
{
    int64_t days = civil_days(year, 1, 1);
    if (d->kind == 'J') {
        days += (int64_t)d->day - 1 + (is_leap(year) && d->day >= 60);
    } else if (d->kind == 'D') {
        days += (int64_t)d->day;
    } else {
        int64_t first = civil_days(year, d->month, 1);
        int64_t next =
            d->month == 12 ? civil_days(year + 1, 1, 1) : civil_days(year, d->month + 1, 1);
        int64_t weekday = ((first + 4) % 7 + 7) % 7; /* 1970-01-01 was a Thursday */
        days = first + ((int64_t)d->day - weekday + 7) % 7 + 7 * ((int64_t)d->week - 1);
        if (days >= next)
            days -= 7; /* week 5 is the last one */
    }
    return days * DAY + d->second;
}

static int64_t
rule_offset(const struct rule *r, int64_t t, int64_t *until)
{
    *until = INT64_MAX;
    if (!r->has_summer)
        return r->standard;
    int64_t year = year_of(t), latest = INT64_MIN, offset = r->standard;
    /* A moment may lie a week outside its year, so that the next or latest one may be of the
     * year after the next, or of that before the last. */
    for (int64_t y = year - 2; y <= year + 2; y++) {
        const struct change both[] = {
            {rule_moment(&r->start, y) - r->standard, r->summer},
            {rule_moment(&r->end, y) - r->summer, r->standard},
        };
        for (size_t i = 0; i < 2; i++) {
            if (both[i].at > t && both[i].at < *until)
                *until = both[i].at;
            /* Summer that ends as it starts lasts the whole year (RFC 8536, 3.3.1). */
            if (both[i].at <= t && (both[i].at > latest || (both[i].at == latest && i == 0))) {
                latest = both[i].at;
                offset = both[i].offset;
            }
        }
    }
    return offset;
}

/* ---- asking ---- */

int64_t
zone_offset(const struct zone *z, int64_t t, int64_t *until)
{
    *until = INT64_MAX;
    if (z->n == 0 || t >= z->changes[z->n - 1].at) {
        if (z->has_rule)
            return rule_offset(&z->rule, t, until);
        return z->n ? z->changes[z->n - 1].offset : z->first;
    }
    size_t low = 0, high = z->n; /* the first change after t */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (z->changes[middle].at > t)
            high = middle;
        else
            low = middle + 1;
    }
    *until = z->changes[low].at;
    return low ? z->changes[low - 1].offset : z->first;
}

int64_t
zone_to_utc(const struct zone *z, int64_t local)
{
    for (int64_t t = local - OFFSET_MAX;;) {
        int64_t until, reached = local - zone_offset(z, t, &until);
        if (reached < t)
            return t; /* the clocks jumped over it */
        if (reached < until)
            return reached;
        t = until;
    }
}

/* ---- reading ---- */

struct counts {
    uint32_t is_utc, is_standard, leap, time, type, chars;
};

static uint64_t
big_endian(const char *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | (unsigned char)p[i];
    return v;
}

static bool
read_header(struct str file, struct counts *c)
{
    if (file.n < HEADER || memcmp(file.p, "TZif", 4) != 0 || file.p[4] < '2')
        return false;
    uint32_t *const to[] = {&c->is_utc, &c->is_standard, &c->leap,
                            &c->time,   &c->type,        &c->chars};
    for (size_t i = 0; i < 6; i++) {
        *to[i] = (uint32_t)big_endian(file.p + 20 + 4 * i, 4);
        if (*to[i] > ZONE_FILE_MAX)
            return false;
    }
    return true;
}

static size_t
body_size(const struct counts *c, size_t time_size)
{
    return c->time * (time_size + 1) + c->type * (size_t)6 + c->chars +
           c->leap * (time_size + 4) + c->is_standard + c->is_utc;
}

/* The offset of a type; false when there is no such type, or no clock can show it. */
static bool
read_type(const char *types, const struct counts *c, size_t which, int64_t *ret)
{
    if (which >= c->type)
        return false;
    *ret = (int32_t)big_endian(types + 6 * which, 4);
    return *ret > -OFFSET_MAX && *ret < OFFSET_MAX;
}

static int
read_changes(const char *body, const struct counts *c, struct arena *arena, struct zone *z)
{
    const char *indices = body + c->time * (size_t)8, *types = indices + c->time;
    z->changes = arena_alloc(arena, (c->time + (size_t)1) * sizeof *z->changes);
    if (!z->changes)
        return -ENOMEM;
    z->n = c->time;
    if (!read_type(types, c, 0, &z->first))
        return -EINVAL;
    for (size_t i = 0; i < z->n; i++) {
        struct change *to = &z->changes[i];
        to->at = (int64_t)big_endian(body + 8 * i, 8);
        if (!read_type(types, c, (unsigned char)indices[i], &to->offset) ||
            (i && to->at <= to[-1].at))
            return -EINVAL;
    }
    return 0;
}

static bool
read_footer(struct str rest, struct zone *z)
{
    char text[256];
    if (rest.n < 2 || rest.n > sizeof text || rest.p[0] != '\n' || rest.p[rest.n - 1] != '\n')
        return false;
    memcpy(text, rest.p + 1, rest.n - 2);
    text[rest.n - 2] = '\0';
    z->has_rule = text[0] != '\0';
    return !z->has_rule || parse_rule(text, &z->rule);
}

int
zone_parse(struct str file, struct arena *arena, struct zone **ret)
{
    struct counts c;
    /* The first body is for readers of the past: 32 bits. The second follows. */
    if (!read_header(file, &c) || body_size(&c, 4) > file.n - HEADER)
        return -EINVAL;
    size_t skip = HEADER + body_size(&c, 4);
    file = (struct str){file.p + skip, file.n - skip};
    if (!read_header(file, &c) || body_size(&c, 8) > file.n - HEADER || c.leap)
        return -EINVAL; /* with leap seconds it is another clock than the system's */
    struct zone *z = arena_alloc(arena, sizeof *z);
    if (!z)
        return -ENOMEM;
    int rc = read_changes(file.p + HEADER, &c, arena, z);
    skip = HEADER + body_size(&c, 8);
    if (rc == 0 && !read_footer((struct str){file.p + skip, file.n - skip}, z))
        rc = -EINVAL;
    if (rc == 0)
        *ret = z;
    return rc;
}

/* A name can lead nowhere but into the database. */
static bool
name_good(struct str name)
{
    if (name.n == 0 || name.n > ZONE_NAME_MAX || name.p[0] == '/')
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char ch = name.p[i];
        if (!((ch >= 'A' && ch <= 'Z') || (ch >= 'a' && ch <= 'z') ||
              (ch >= '0' && ch <= '9') || (ch && strchr("_+-/", ch))))
            return false;
    }
    return true;
}

int
zone_load(struct str name, struct arena *arena, struct zone **ret)
{
    char path[sizeof ZONES + ZONE_NAME_MAX] = ZONES;
    if (!name_good(name))
        return -ENOENT;
    memcpy(path + sizeof ZONES - 1, name.p, name.n);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -ENOENT;
    AUTO_BUF struct buf file = BUF_INIT(ZONE_FILE_MAX);
    for (;;) {
        char *room = buf_room(&file, 4096);
        ssize_t n = room ? read(fd, room, 4096) : -1;
        if (n < 0)
            return file.failed ? -ENOMEM : -ENOENT; /* a directory, for one */
        if (n == 0)
            return zone_parse(buf_str(&file), arena, ret);
        file.n += (size_t)n;
    }
}
