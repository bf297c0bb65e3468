/*
 * What an answer means: for the call, and for each of its rows. The rules are the manifest's,
 * before those of HTTP, which hold where it is silent:
 *
 * - 2xx: every row is done, unless the manifest says where outcomes stand
 * - 401: denied; 413, 414: too large
 * - 400, 409, 415, 422: refused, for the sake of some row
 * - 408, 425, 429, 503: failed: not applied, again later
 * - other 5xx, no whole answer: unknown
 * - everything else: hopeless; so 3xx (redirects are not followed), 403, 404, 405, 410 …
 *
 * A status is no verdict: an API may fail within a 200 and succeed within a 400.
 */
#pragma once

#include <jansson.h>

#include "base/arena.h"
#include "driver.h"
#include "http/transfer.h"

struct answer_rules;

/* Compiles a manifest's "answer" (NULL: HTTP's rules alone). 0, -EINVAL with the place as a
 * JSON pointer in *err, -ENOMEM.
 *
 * - "when": [{"status": 400 | [400, 409] | "4xx", "pointer": "/ok", "is": JSON, "not": JSON,
 *   "in": [JSON, …], "contains": "text", "text": "the whole body", "some": true, "fate":
 *   "answered|failed|refused|too_large|denied|hopeless|unknown", "wait": 15}, …]: the first
 *   that fits; "pointer" alone: something is there; "some": an array or object that is not
 *   empty; "wait": no call for so many seconds
 * - "error": {"code": "/pointer", "words": "/pointer"} of the answer as a whole; the code "" is
 *   a whole body that is no JSON
 * - "rows": {"by": …}, with "code" and "words" (pointers within an entry) and "retry": [codes
 *   that are to be tried again]:
 *   - "all": answered, every row is done
 *   - "index", "list": "/errors", "index": "/index": those listed are refused
 *   - "index", "list": "", "done": {"pointer": "/success", "is": true}: the list has one entry
 * a row, in their order
 *   - "pointer", "list": "/errors", "pointer": "/source/pointer", "prefix": "/data/": the row's
 *     number follows the prefix
 *   - "key", "list": "/skipped", "key": "/id": those whose identifier is listed (without "key"
 * a list of identifiers) are refused, with "why" as the words if the answer has none
 *   - "identity", "done": "/results", "failed": "/errors", "identity": "/objectWriteTraceId",
 *     "digits": 32; among those failed it stands at "failed_identity" if that is given, or an
 *     array of them. Rows in neither are refused by an entry that names none, else unknown
 *   and with "fine": [codes by which a row is done, such as that of one that is gone already]
 * - "pace": {"remaining": "header", "reset": "header", "reset_is":
 *   "seconds|epoch|milliseconds"}
 */
int answer_compile(const json_t *manifest, struct answer_rules **ret, struct error *err);
struct answer_rules *answer_free(struct answer_rules *r); /* NULL-safe, returns NULL */

/* Judges: fills the call's outcomes (their texts in `arena`, kept by the caller as driver.h
 * asks) and *ret but for ret->call. */
void answer_judge(const struct answer_rules *r, const struct exchange *x, struct call *call,
                  struct arena *arena, struct call_answer *ret);

/* Microseconds that a Retry-After header asks for (RFC 9110 section 10.2.3: seconds, or a date,
 * which `now`, clock_now()'s, is taken from); 0 when it says nothing or is over. */
int64_t answer_retry_after(struct str header, usec_t now);
