#!/usr/bin/env python3
"""`schedule` against another reading of the same words: Python's calendar and zoneinfo, minute by
minute. Random schedules, zones and moments, many of them around a change of the clocks.

schedule-oracle.py TEST-SCHEDULE [COUNT]; $SEED repeats a run."""

import os
import random
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo, available_timezones

MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
DAYS = "sun mon tue wed thu fri sat".split()
FIELDS = [(0, 59, None), (0, 23, None), (1, 31, None), (1, 12, MONTHS), (0, 7, DAYS)]
UTC = timezone.utc
HORIZON = 45  # days the oracle looks ahead; it says nothing about what lies beyond


def some_item(r, low, high, names):
    word = lambda v: names[v - low] if names and v - low < len(names) and r.random() < 0.5 else str(v)
    kind = r.random()
    if kind < 0.45:
        v = r.randint(low, high)
        return word(v), {v}
    step = r.choice([1, 2, 3, 5, 7, 15])
    step = min(step, high)
    tail = "/%d" % step if step > 1 or r.random() < 0.1 else ""
    if kind < 0.7:
        return "*" + tail, set(range(low, high + 1, step))
    a, b = sorted((r.randint(low, high), r.randint(low, high)))
    return word(a) + "-" + (str(b) if names is DAYS else word(b)) + tail, set(range(a, b + 1, step))


def some_field(r, low, high, names, open_share):
    if r.random() < open_share:
        return "*", set(range(low, high + 1)), True
    items = [some_item(r, low, high, names) for _ in range(r.choice([1, 1, 1, 2, 3]))]
    return ",".join(i[0] for i in items), set().union(*(i[1] for i in items)), items[0][0][0] == "*"


def some_cron(r):
    shares = [0.2, 0.4, 0.6, 0.7, 0.6]
    parsed = [some_field(r, *f, share) for f, share in zip(FIELDS, shares)]
    minutes, hours, days, months, weekdays = (p[1] for p in parsed)
    weekdays = {d % 7 for d in weekdays}
    both = parsed[2][2] or parsed[4][2]

    def on(date):
        a, b = date.day in days, date.isoweekday() % 7 in weekdays
        return date.month in months and ((a and b) if both else (a or b))

    return "cron " + " ".join(p[0] for p in parsed), minutes, hours, on


def to_utc(zone, local):
    """The first moment at which the clocks show `local` or later."""
    first, second = (local.replace(tzinfo=zone, fold=f).astimezone(UTC) for f in (0, 1))
    if first.astimezone(zone).replace(tzinfo=None) == local:
        return first
    # A gap: before it the offset of fold 0 holds; its end is where that offset ends.
    low, high = second, first
    before = local.replace(tzinfo=zone, fold=0).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=int((high - low).total_seconds()) // 2)
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high


def oracle(cron, zone, after):
    _, minutes, hours, on = cron
    start = datetime.fromtimestamp(after, UTC)
    date = start.astimezone(zone).date() - timedelta(days=2)
    for _ in range(HORIZON + 2):
        if on(date):
            for hour in sorted(hours):
                for minute in sorted(minutes):
                    due = to_utc(zone, datetime(date.year, date.month, date.day, hour, minute))
                    if due > start:
                        return int(due.timestamp())
        date += timedelta(days=1)
    return None


def changes(zone, year):
    """Moments in that year at which the offset changes."""
    t, step, found = datetime(year, 1, 1, tzinfo=UTC), timedelta(days=1), []
    while t.year == year:
        if t.astimezone(zone).utcoffset() != (t + step).astimezone(zone).utcoffset():
            low, high = t, t + step
            while high - low > timedelta(seconds=1):
                middle = low + timedelta(seconds=int((high - low).total_seconds()) // 2)
                same = middle.astimezone(zone).utcoffset() == t.astimezone(zone).utcoffset()
                low, high = (middle, high) if same else (low, middle)
            found.append(int(high.timestamp()))
        t += step
    return found


def cases(r, count):
    names = sorted(n for n in available_timezones() if not n.startswith(("posix", "right", "Factory", "localtime")))
    if len(names) < 100 or not os.path.exists("/usr/share/zoneinfo/Europe/Berlin"):
        print("skip: no time zones on this system")
        sys.exit(77)
    for _ in range(count):
        name = r.choice(names)
        zone = ZoneInfo(name)
        after = r.randrange(0, 4_000_000_000)
        if r.random() < 0.7:
            near = changes(zone, r.choice([1975, 1987, 2011, 2026, 2026, 2027, 2040, 2090]))
            if near:
                after = r.choice(near) + r.randint(-2 * 86400, 4 * 3600)
        yield some_cron(r), name, zone, max(after, 0)


def main():
    seed = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 3000
    print("SEED=%d" % seed)
    chosen = list(cases(random.Random(seed), count))
    lines = "".join("%d\t%s %s\n" % (after, cron[0], name) for cron, name, _, after in chosen)
    done = subprocess.run([sys.argv[1], "answer"], input=lines, text=True, capture_output=True, check=True)
    bad = judged = 0
    for (cron, name, zone, after), got in zip(chosen, done.stdout.splitlines(), strict=True):
        want = oracle(cron, zone, after)
        if got.startswith("refused"):
            if want is not None or "never comes" not in got:
                bad += 1
                print("%s %s: %s" % (cron[0], name, got))
            continue
        if want is None:
            ok = int(got) == 0 or int(got) > after + (HORIZON - 3) * 86400
        else:
            judged += 1
            ok = int(got) == want
        if not ok:
            bad += 1
            print("%s %s after %s: got %s, want %s" % (
                cron[0], name, datetime.fromtimestamp(after, UTC), datetime.fromtimestamp(int(got), UTC),
                want and datetime.fromtimestamp(want, UTC)))
    print("%d schedules, %d of them judged exactly, %d wrong" % (count, judged, bad))
    sys.exit(1 if bad or judged < count / 3 else 0)


main()
