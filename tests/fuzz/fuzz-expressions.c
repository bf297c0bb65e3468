/*
 * Expressions of mappings.csv: what is checked compiles but for its columns, and a row gives
 * the same result or the same error every time. A second line of the input is a value of the
 * row.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "define/define.h"
#include "fuzz.h"

static const struct column columns[] = {
    {.name = "id", .type = V_INT},        {.name = "name", .type = V_TEXT},
    {.name = "price", .type = V_DECIMAL}, {.name = "A b\"c", .type = V_TEXT},
    {.name = "x", .type = V_BYTES},       {.name = "j", .type = V_JSON},
    {.name = "ok", .type = V_BOOL},
};
enum { COLUMNS = sizeof columns / sizeof *columns };

static void
evaluate(struct expressions *x, const struct value *row)
{
    struct value first, second;
    struct error err = ERROR_INIT;
    int rc = expressions_eval(x, 0, row, &first, &err);
    fuzz_check_error(rc, &err);
    if (rc)
        return;
    MUST(first.type == V_NULL || first.type == V_INT || first.type == V_FLOAT ||
         first.type == V_TEXT || first.type == V_BYTES);
    fuzz_check_value(&first);
    if (first.n > 4096)
        return;
    AUTO_FREE char *copy = malloc(first.n + 1);
    MUST(copy);
    if (first.n)
        memcpy(copy, first.p, first.n);
    const struct value kept = {copy, first.n, first.type};
    MUST(expressions_eval(x, 0, row, &second, &err) == 0 && value_equal(&kept, &second));
}

static void
evaluate_rows(struct expressions *x, struct str value)
{
    const struct value nothing[COLUMNS] = {{.type = V_NULL}};
    struct value row[COLUMNS] = {{"-7", 2, V_INT},
                                 {"J\xC3\xBCrgen", 7, V_TEXT},
                                 {"12345678901234567890.10", 23, V_DECIMAL},
                                 {"", 0, V_TEXT},
                                 {"\0\xFF\x80", 3, V_BYTES},
                                 {"{\"a\":[1,2,{\"b\":null}]}", 22, V_JSON},
                                 {"t", 1, V_BOOL}};
    evaluate(x, nothing);
    evaluate(x, row);
    if (utf8_check(value.p, value.n) < value.n)
        return;
    row[1] = row[3] = row[5] = (struct value){value.p, (uint32_t)value.n, V_TEXT};
    row[2] = (struct value){value.p, (uint32_t)value.n, V_DECIMAL};
    evaluate(x, row);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str value = {(const char *)data + n, 0};
    const char *newline = data && n ? memrchr(data, '\n', n) : NULL;
    if (newline) {
        value = (struct str){newline + 1, (size_t)((const char *)data + n - newline - 1)};
        n = (size_t)(newline - (const char *)data);
    }
    AUTO_FREE char *text = strndup(data ? (const char *)data : "", n);
    MUST(text);
    const struct schema schema = {(struct column *)columns, COLUMNS};
    const struct mapping mapping = {.expression = text, .field = "f", .line = 2};
    bool used[COLUMNS] = {false};
    struct expressions *x = NULL;
    struct error checked = ERROR_INIT, compiled = ERROR_INIT;
    int good = expression_check(text, &checked);
    int rc = expressions_compile(&schema, &mapping, 1, used, &x, &compiled);
    fuzz_check_error(good, &checked);
    fuzz_check_error(rc, &compiled);
    MUST(!good || rc); /* what the check refuses is never run */
    if (rc == 0)
        evaluate_rows(x, value);
    expressions_free(x);
    return 0;
}
