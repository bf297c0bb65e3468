/* Values: type names, packed records, file name parts. As JSON and CSV: text.c. See value.h. */
#include "base/value.h"

static const char *const type_names[] = {
    [V_NULL] = "any",
    [V_BOOL] = "boolean",
    [V_INT] = "integer",
    [V_DECIMAL] = "decimal",
    [V_FLOAT] = "float",
    [V_TEXT] = "text",
    [V_BYTES] = "bytes",
    [V_DATE] = "date",
    [V_TIME] = "time",
    [V_TIMESTAMP] = "timestamp",
    [V_TIMESTAMPTZ] = "timestamp with time zone",
    [V_JSON] = "json",
};
enum { TYPE_NAMES = sizeof type_names / sizeof *type_names };

const char *
value_type_name(enum value_type type)
{
    return (size_t)type < TYPE_NAMES ? type_names[type] : "absent";
}

int
value_type_parse(struct str name)
{
    if (str_is(name, "timestamptz"))
        return V_TIMESTAMPTZ;
    for (int i = 0; i < TYPE_NAMES; i++)
        if (str_is(name, type_names[i]))
            return i;
    return -1;
}

void
record_pack(struct buf *out, const struct value *values, size_t n)
{
    size_t room = n * VALUE_HEAD_MAX;
    for (size_t i = 0; i < n; i++)
        room += values[i].n;
    char *to = buf_room(out, room);
    if (!to)
        return;
    for (size_t i = 0; i < n; i++)
        to = value_pack(to, &values[i]);
    out->n = (size_t)(to - out->p);
}

bool
record_unpack(struct str rec, struct value *values, size_t n)
{
    const char *p = rec.n ? rec.p : "", *end = p + rec.n;
    for (size_t i = 0; i < n; i++)
        if (!record_next(&p, end, &values[i]))
            return false;
    return p == end;
}

/* Those that no shell, make or URL minds. */
static bool
plain_in_names(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("._-@+", c));
}

static bool
says_null(const char *p, size_t n)
{
    return n == 4 && memcmp(p, "NULL", 4) == 0;
}

bool
filename_is_plain(const char *p, size_t n)
{
    size_t plain = 0;
    while (plain < n && plain_in_names((unsigned char)p[plain]))
        plain++;
    return plain == n && n > 0 && p[0] != '.' && !says_null(p, n);
}

void
filename_part(struct buf *out, const char *p, size_t n)
{
    static const char digits[] = "0123456789ABCDEF";
    if (n == 0)
        buf_addc(out, '%');
    bool null = says_null(p, n);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if (plain_in_names(c) && !(i == 0 && (c == '.' || null))) {
            buf_addc(out, (char)c);
        } else {
            buf_addc(out, '%');
            buf_addc(out, digits[c >> 4]);
            buf_addc(out, digits[c & 15]);
        }
    }
}

void
value_filename(struct buf *out, const struct value *v)
{
    if (v->type == V_NULL || v->type == V_ABSENT)
        buf_adds(out, "NULL");
    else
        filename_part(out, v->p, v->n);
}
