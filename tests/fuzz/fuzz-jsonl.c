/*
 * JSON Lines: the first byte chooses types. What jansson takes for one object a line must be
 * read, row by row; what it refuses may be (numbers of any size).
 */
#include <stdlib.h>
#include <string.h>

#include "../driver/drive.h"
#include "base/cleanup.h"
#include "base/utf8.h"
#include "fuzz.h"
#include "lib/jsonscan.h"

#define json_string jansson_json_string
#define json_unescape jansson_json_unescape
#include <jansson.h>
#undef json_string

extern const struct driver driver_jsonl;

/* How many lines hold an object for jansson; -1: one holds something else, or is refused. */
static long
count_objects(struct str bytes)
{
    long rows = 0;
    while (bytes.n > 0) {
        const char *newline = memchr(bytes.p, '\n', bytes.n), *end = bytes.p + bytes.n;
        size_t n = newline ? (size_t)(newline - bytes.p) : bytes.n;
        const char *p = json_space(bytes.p, bytes.p + n);
        if (p < bytes.p + n) {
            json_t *j = json_loadb(bytes.p, n, JSON_REJECT_DUPLICATES, NULL);
            bool is = json_is_object(j);
            json_decref(j);
            if (!is)
                return -1;
            rows++;
        }
        bytes.p = newline ? newline + 1 : end;
        bytes.n = (size_t)(end - bytes.p);
    }
    return rows;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const types[] = {
        NULL,
        "a:text,b:integer,c:decimal,d:json",
        "a:float,b:boolean,c:bytes,d:date",
        "a:time,b:timestamp,c:timestamp with time zone,e:json",
    };
    if (n < 1)
        return 0;
    AUTO_ARENA struct arena arena = ARENA_INIT;
    AUTO_BUF struct buf rows = BUF_INIT(BUF_NO_MAX);
    struct str bytes = {(const char *)data + 1, n - 1};
    const char *chosen = types[data[0] & 3];
    void *connection = drive_options(driver_jsonl.options, driver_jsonl.options_size, &arena,
                                     "path", fuzz_file(bytes), NULL);
    struct model model = {.sync = "fuzz"};
    if (chosen)
        model.options =
            drive_options(driver_jsonl.source_options, driver_jsonl.source_options_size, &arena,
                          "types", chosen, NULL);
    struct error err = ERROR_INIT;
    int rc = fuzz_source(&driver_jsonl, connection, &model, &rows, &err);
    if (bytes.n >= 3 && memcmp(bytes.p, "\xEF\xBB\xBF", 3) == 0)
        bytes = (struct str){bytes.p + 3, bytes.n - 3};
    bool nul =
        bytes.n > 0 && memchr(bytes.p, '\0', bytes.n); /* jansson takes it after a number */
    if (!chosen && rc && !nul && count_objects(bytes) >= 0)
        MUST(strstr(err.text, "nested too deeply")); /* jansson's limit is another */
    return 0;
}
