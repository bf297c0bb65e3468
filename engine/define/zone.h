/*
 * Time zones as the system's database has them (TZif, RFC 8536), without the process-wide TZ of
 * the C library: threads may ask for different zones at once.
 */
#pragma once

#include <stdint.h>

#include "base/arena.h"

struct zone; /* immutable; in its arena */

/* "Europe/Berlin" out of /usr/share/zoneinfo. -ENOENT: no such zone; -EINVAL: not a zone that
 * can be used; -ENOMEM. */
int zone_load(struct str name, struct arena *arena, struct zone **ret);
/* The same from the file's bytes. */
int zone_parse(struct str file, struct arena *arena, struct zone **ret);
/* Seconds east of UTC at t (seconds since 1970), and until when that holds (INT64_MAX: for
 * ever). */
int64_t zone_offset(const struct zone *z, int64_t t, int64_t *until);
/* The first moment at which the zone's clocks show `local` (seconds since 1970 as if in UTC) or
 * later: what is skipped in spring is the moment after the gap, what comes twice in autumn the
 * first of the two. */
int64_t zone_to_utc(const struct zone *z, int64_t local);
