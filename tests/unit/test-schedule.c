/*
 * `schedule`: what it takes and refuses, and when it is due. With arguments it is the oracle's
 * other half: reads "AFTER<tab>SCHEDULE" lines and prints the next moment of each in seconds.
 */
#include "base/civil.h"
#include "define/schedule.h"
#include "tap.h"

static struct arena arena;
static struct schedule schedule;
static struct complaint complaint;

static enum text_verdict
check(const char *text, bool final)
{
    struct text_file f = {.name = "schedule", .text = str_of(text)};
    complaint = (struct complaint){0};
    return schedule_check(&f, final, &arena, &schedule, &complaint);
}

static bool
refused(const char *text, unsigned line, unsigned column, const char *words)
{
    bool ok = check(text, true) == TEXT_BROKEN && complaint.line == line &&
              complaint.column == column && strstr(complaint.text, words);
    if (!ok)
        printf("# %u:%u: %s (%s)\n", complaint.line, complaint.column, complaint.text,
               complaint.hint);
    return ok;
}

/* What follows `after` by that schedule, as text. */
static const char *
next(const char *text, int64_t after)
{
    static struct buf out = BUF_INIT(64);
    buf_clear(&out);
    if (check(text, true) != TEXT_OK)
        return complaint.text;
    clock_format(schedule_next(&schedule, after * 1000000), &out);
    return buf_z(&out);
}

static int64_t
at(int64_t year, unsigned month, unsigned day, int hour, int minute)
{
    return civil_days(year, month, day) * 86400 + hour * 3600 + minute * 60;
}

static void
test_texts(void)
{
    static const char *const good[] = {
        "off",
        "",
        " \n",
        "off\n",
        "every 1m",
        "every 15m\n",
        "every 2h",
        "every 366d",
        "cron * * * * *",
        "cron 0 6 * * mon-fri",
        "cron 0,30 6-8 1,15 JAN,jul Sun",
        "cron */15 * * * *\n",
        "cron 5-59/10 0 * * 5-7",
        "cron 0 0 * * fri-sun",
        "cron 0 0 29 2 *",
        "cron 0 0 30 2 mon",
        "cron\t0  0 1 1 * UTC",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK_MSG(check(good[i], true) == TEXT_OK, good[i]);
    CHECK(check("", true) == TEXT_OK && schedule.kind == SCHEDULE_OFF);
    CHECK(check("", false) == TEXT_INCOMPLETE);
    CHECK(check("every 15", false) == TEXT_INCOMPLETE && !complaint.line);
    CHECK(check("eve", false) == TEXT_INCOMPLETE);
    CHECK(check("cron 0 0 *", false) == TEXT_INCOMPLETE);
    CHECK(check("cron 0 0 ", false) == TEXT_INCOMPLETE);
    const struct text_file nul = {.name = "schedule", .text = STR("every 15\0")};
    CHECK(schedule_check(&nul, true, &arena, &schedule, &complaint) == TEXT_BROKEN);
    CHECK(check("evry 15m", false) == TEXT_BROKEN);
    CHECK(check("cron 61 ", false) == TEXT_BROKEN);

    CHECK(refused("hourly\n", 1, 1, "unknown schedule \"hourly\""));
    CHECK(refused("evry 15m", 1, 1, "unknown schedule"));
    CHECK(strstr(complaint.hint, "did you mean \"every\"?"));
    CHECK(refused("every", 1, 6, "an interval is missing"));
    CHECK(refused("every 30s", 1, 7, "not an interval: \"30s\""));
    CHECK(refused("every 0m", 1, 7, "nothing"));
    CHECK(refused("every 99999m", 1, 7, "not an interval"));
    CHECK(refused("every 367d", 1, 7, "too long"));
    CHECK(refused("every 5m 3", 1, 10, "nothing may follow: \"3\""));
    CHECK(refused("\ncron 60 * * * *", 2, 6, "not a minute: \"60\""));
    CHECK(refused("cron 0 24 * * *", 1, 8, "not a hour"));
    CHECK(refused("cron 0 0 0 * *", 1, 10, "not a day of month"));
    CHECK(refused("cron 0 0 1 foo *", 1, 12, "not a month"));
    CHECK(strstr(complaint.hint, "jan, feb"));
    CHECK(refused("cron 0 0 1 1,13 *", 1, 14, "not a month: \"13\""));
    CHECK(refused("cron 0 0 1 1 8", 1, 14, "not a day of week"));
    CHECK(refused("cron 0 0 1 1", 1, 13, "the day of week is missing"));
    CHECK(refused("cron 0,,5 * * * *", 1, 6, "not a minute"));
    CHECK(refused("cron 5/15 * * * *", 1, 6, "a step without a range"));
    CHECK(refused("cron */90 * * * *", 1, 6, "not a step"));
    CHECK(refused("cron */0 * * * *", 1, 6, "not a step"));
    CHECK(refused("cron 0 22-5 * * *", 1, 8, "backwards"));
    CHECK(refused("cron 0 22-0 * * *", 1, 8, "backwards"));
    CHECK(refused("cron 0 0 30 2 *", 1, 10, "never comes"));
    CHECK(refused("cron 0 0 31 2,4,6,9,11 *", 1, 10, "never comes"));
    CHECK(refused("cron 0 0 * * * Nowhere/City", 1, 16, "unknown time zone \"Nowhere/City\""));
    CHECK(refused("cron 0 0 * * * ../../../etc/passwd", 1, 16, "unknown time zone"));
    CHECK(refused("cron 0 0 * * * /etc/passwd", 1, 16, "unknown time zone"));
    CHECK(refused("cron 0 0 * * * America", 1, 16, "unknown time zone"));
    CHECK(refused("cron 0 0 * * * UTC UTC", 1, 20, "nothing may follow"));
}

static void
test_utc(void)
{
    int64_t t = at(2026, 11, 21, 4, 33) + 52;
    CHECK_TEXT(next("off", t), "never");
    CHECK_TEXT(next("every 15m", t), "2026-11-21T04:45:00Z");
    CHECK_TEXT(next("every 15m", at(2026, 11, 21, 4, 45)), "2026-11-21T05:00:00Z");
    CHECK_TEXT(next("every 1d", t), "2026-11-22T00:00:00Z");
    CHECK_TEXT(next("cron * * * * *", t), "2026-11-21T04:34:00Z");
    CHECK_TEXT(next("cron 33 4 * * *", t), "2026-11-22T04:33:00Z");
    CHECK_TEXT(next("cron 0 6 * * mon-fri", t), "2026-11-23T06:00:00Z");
    CHECK_TEXT(next("cron 0 0 29 2 *", t), "2028-02-29T00:00:00Z");
    CHECK_TEXT(next("cron 0 0 29 2 *", at(2096, 3, 1, 0, 0)), "2104-02-29T00:00:00Z");
    /* two restricted day fields: either is enough; one that begins with '*' is not restricted
     */
    CHECK_TEXT(next("cron 0 0 1 * mon", t), "2026-11-23T00:00:00Z");
    CHECK_TEXT(next("cron 0 0 1 * mon", at(2026, 11, 30, 1, 0)), "2026-12-01T00:00:00Z");
    CHECK_TEXT(next("cron 0 0 */31 * mon", t), "2027-02-01T00:00:00Z");
    CHECK_TEXT(next("cron 0 0 * * 7", t), "2026-11-22T00:00:00Z");
    CHECK_TEXT(next("cron 0 0 * * 0", t), "2026-11-22T00:00:00Z");
}

static void
test_daylight_saving(void)
{
    if (check("cron 0 0 * * * Europe/Berlin", true) != TEXT_OK) {
        printf("# no time zones on this system\n");
        return;
    }
    /* 2026-03-29 02:00 CET is followed by 03:00 CEST */
    CHECK_TEXT(next("cron 30 2 * * * Europe/Berlin", at(2026, 3, 28, 12, 0)),
               "2026-03-29T01:00:00Z");
    CHECK_TEXT(next("cron 30 2 * * * Europe/Berlin", at(2026, 3, 29, 1, 0)),
               "2026-03-30T00:30:00Z");
    CHECK_TEXT(next("cron */20 2,3 * * * Europe/Berlin", at(2026, 3, 29, 1, 0)),
               "2026-03-29T01:20:00Z");
    /* 2026-10-25 03:00 CEST is followed by 02:00 CET */
    CHECK_TEXT(next("cron 30 2 * * * Europe/Berlin", at(2026, 10, 24, 12, 0)),
               "2026-10-25T00:30:00Z");
    CHECK_TEXT(next("cron 30 2 * * * Europe/Berlin", at(2026, 10, 25, 0, 30)),
               "2026-10-26T01:30:00Z");
    CHECK_TEXT(next("cron 30 2,3 * * * Europe/Berlin", at(2026, 10, 25, 0, 30)),
               "2026-10-25T02:30:00Z");
    /* beyond the table: the rule at its end */
    CHECK_TEXT(next("cron 0 12 * 7 * America/New_York", at(2150, 1, 1, 0, 0)),
               "2150-07-01T16:00:00Z");
    /* 2011-12-30 did not exist in Samoa */
    CHECK_TEXT(next("cron 0 12 30 12 * Pacific/Apia", at(2011, 6, 1, 0, 0)),
               "2011-12-30T10:00:00Z");
}

/* A zone of nothing but that rule; 94 bytes stand before it. */
static int
rule_zone(const char *rule, struct zone **ret)
{
    char file[256] = "TZif2";
    memcpy(file + 44, "TZif2", 5);
    file[44 + 39] = 1; /* one type of 6 bytes */
    int n = snprintf(file + 94, sizeof file - 94, "\n%s\n", rule);
    return zone_parse((struct str){file, 94 + (size_t)n}, &arena, ret);
}

/* Rules whose moments lie at a year's edge, or in the year before or after it. */
static void
test_rules_at_the_edge(void)
{
    struct zone *zone;
    int64_t until;
    /* summer the whole year, as RFC 8536 writes it: it ends as it starts */
    CHECK(rule_zone("EST5EDT,0/0,J365/25", &zone) == 0);
    for (int64_t t = at(2026, 12, 30, 0, 0); t < at(2027, 1, 3, 0, 0); t += 21600)
        CHECK(zone_offset(zone, t, &until) == INT64_C(-4) * 3600 && until > t);
    /* ends four hours into the next year, so that the next start is in vain */
    CHECK(rule_zone("UTC0XXX2,0,365", &zone) == 0);
    CHECK(zone_offset(zone, at(1971, 1, 1, 1, 59), &until) == 0);
    CHECK(until == at(1971, 1, 1, 2, 0));
    CHECK(zone_offset(zone, at(1971, 1, 1, 2, 0), &until) == INT64_C(-7200));
    CHECK(until == at(1971, 1, 1, 4, 0));
    CHECK(zone_offset(zone, at(1971, 1, 1, 4, 0), &until) == 0);
    /* a start that lies in the old year, a week before its own */
    CHECK(rule_zone("UTC0XXX-1,0/-167,1/-167", &zone) == 0);
    CHECK(zone_offset(zone, at(2026, 12, 27, 0, 0), &until) == 0);
    CHECK(until == at(2027, 12, 25, 1, 0));
}

/* Files that are not what they say. */
static void
test_damaged_zones(void)
{
    char file[256] = "TZif2";
    struct zone *zone;
    CHECK(zone_parse(STR(""), &arena, &zone) == -EINVAL);
    CHECK(zone_parse(STR("TZif"), &arena, &zone) == -EINVAL);
    CHECK(zone_parse((struct str){file, 44}, &arena, &zone) == -EINVAL);
    memcpy(file + 44, "TZif2", 5);
    CHECK(zone_parse((struct str){file, 88}, &arena, &zone) == -EINVAL); /* no type */
    file[44 + 39] = 1; /* one type of 6 bytes */
    static const char *const bad[] = {"X",
                                      "AB3",
                                      "CET",
                                      "CET-1CEST",
                                      "CET-1CEST,M13.1.0,M1.1.0",
                                      "CET-1CEST,M3.5,M10.5.0",
                                      "CET-1CEST,J0,J1",
                                      "<A-1",
                                      "CET-1CEST,M3.5.0/200,M10.5.0",
                                      "CET-99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_MSG(rule_zone(bad[i], &zone) == -EINVAL, bad[i]);
    int n = snprintf(file + 94, sizeof file - 94, "\n%s\n", "<+0330>-3:30<S>,J60/0,364/24");
    CHECK(zone_parse((struct str){file, 94 + (size_t)n}, &arena, &zone) == 0);
    int64_t until;
    CHECK(zone_offset(zone, at(2024, 2, 1, 0, 0), &until) == 12600);
    CHECK(until == at(2024, 2, 29, 20, 30)); /* J60 is 1 March, leap year or not */
    CHECK(zone_offset(zone, until, &until) == 16200 && until == at(2024, 12, 30, 19, 30));
    memset(file + 44 + 20, 0xFF, 24);
    CHECK(zone_parse((struct str){file, 94 + (size_t)n}, &arena, &zone) == -EINVAL);
}

static int
answer(void)
{
    char line[1200];
    while (fgets(line, sizeof line, stdin)) {
        char *text = strchr(line, '\t');
        line[strcspn(line, "\n")] = '\0';
        if (!text || check(text + 1, true) != TEXT_OK) {
            printf("refused %s\n", complaint.text);
            continue;
        }
        usec_t due = schedule_next(&schedule, strtoll(line, NULL, 10) * 1000000);
        printf("%lld\n", (long long)(due / 1000000));
        arena_clear(&arena);
    }
    return 0;
}

int
main(int argc, char **argv)
{
    (void)argv;
    if (argc > 1)
        return answer();
    test_texts();
    test_utc();
    test_daylight_saving();
    test_rules_at_the_edge();
    test_damaged_zones();
    arena_done(&arena);
    return tap_done();
}
