/* The command line: see options.h. */
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

enum { RUNS_DEFAULT = 4, RUNS_MAX = 256 };

/* What fstab may hold for mount(8) and systemd alone, or what is so anyway. */
static const char *const ignored[] = {
    "rw",       "dev",        "suid",        "exec",     "atime",      "noatime",
    "relatime", "norelatime", "strictatime", "diratime", "nodiratime", "async",
    "auto",     "noauto",     "user",        "nouser",   "users",      "group",
    "owner",    "defaults",   "_netdev",     "nofail",   "nonempty",   "default_permissions",
};
static const char *const ignored_prefixes[] = {"x-", "X-", "comment=", "user=", "subtype="};

static bool
is_ignored(const char *option)
{
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) {
        if (strcmp(option, ignored[i]) == 0)
            return true;
    }
    for (size_t i = 0; i < sizeof ignored_prefixes / sizeof *ignored_prefixes; i++) {
        if (strncmp(option, ignored_prefixes[i], strlen(ignored_prefixes[i])) == 0)
            return true;
    }
    return false;
}

static int
parse_runs(struct options *o, const char *text, struct error *err)
{
    char *end;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    if (!isdigit((unsigned char)text[0]) || *end || errno || n < 1 || n > RUNS_MAX)
        return error_set(err, ERR_CONFIG, EINVAL, "runs=%s: a number from 1 to %d is expected",
                         text, RUNS_MAX);
    o->runs_at_once = (unsigned)n;
    return 0;
}

/* `value` goes to the end of a list of texts. */
#define ADD_TEXT(list, value, err)                                                             \
    ({                                                                                         \
        char *copy_ = strdup(value);                                                           \
        int r_ = 0;                                                                            \
        if (!copy_ || !VEC_PUSH(list, copy_)) {                                                \
            free(copy_);                                                                       \
            r_ = error_no_memory(err);                                                         \
        }                                                                                      \
        r_;                                                                                    \
    })

static int
parse_one(struct options *o, const char *option, struct error *err)
{
    if (!*option || is_ignored(option))
        return 0;
    if (strncmp(option, "allow_path=", 11) == 0)
        return ADD_TEXT(&o->allow_paths, option + 11, err);
    if (strncmp(option, "allow_env=", 10) == 0)
        return ADD_TEXT(&o->allow_env, option + 10, err);
    if (strcmp(option, "allow_command") == 0) {
        o->allow_command = true;
        return 0;
    }
    o->shared |= strcmp(option, "allow_other") == 0;
    if (strncmp(option, "state=", 6) == 0) {
        free(o->state_dir);
        o->state_dir = strdup(option + 6);
        return o->state_dir ? 0 : error_no_memory(err);
    }
    if (strncmp(option, "runs=", 5) == 0)
        return parse_runs(o, option + 5, err);
    buf_addf(&o->mount, "%s%s", o->mount.n ? "," : "", option);
    return o->mount.failed ? error_no_memory(err) : 0;
}

/* A backslash takes the meaning from the comma after it. */
static int
parse_list(struct options *o, const char *list, struct error *err)
{
    AUTO_BUF struct buf option = BUF_INIT(65536);
    for (const char *p = list;; p++) {
        if (*p == '\\' && p[1]) {
            buf_addc(&option, *++p);
            continue;
        }
        if (*p && *p != ',') {
            buf_addc(&option, *p);
            continue;
        }
        int r = parse_one(o, buf_z(&option), err);
        if (r < 0 || !*p)
            return r;
        buf_clear(&option);
    }
}

static int
parse_flag(struct options *o, const char *flag, const char *value, bool *took_value,
           struct error *err)
{
    if (strcmp(flag, "-h") == 0 || strcmp(flag, "--help") == 0)
        o->help = true;
    else if (strcmp(flag, "-V") == 0 || strcmp(flag, "--version") == 0)
        o->version = true;
    else if (strcmp(flag, "-f") == 0 || strcmp(flag, "--foreground") == 0)
        o->foreground = true;
    else if (strcmp(flag, "-d") == 0 || strcmp(flag, "--debug") == 0)
        o->foreground = o->debug = true;
    else if (strcmp(flag, "-s") == 0 || strcmp(flag, "-n") == 0 || strcmp(flag, "-v") == 0)
        ; /* of other FUSE programs and mount helpers: nothing to be done */
    else if (strncmp(flag, "-o", 2) == 0 && flag[2])
        return parse_list(o, flag + 2, err);
    else if (strcmp(flag, "-o") == 0 && value) {
        *took_value = true;
        return parse_list(o, value, err);
    } else
        return error_set(err, ERR_CONFIG, EINVAL, "unknown option %s", flag);
    return 0;
}

int
options_parse(struct options *o, int argc, char **argv, struct error *err)
{
    *o = (struct options){.runs_at_once = RUNS_DEFAULT, .mount = BUF_INIT(65536)};
    const char *names[2];
    int n = 0;
    bool flags = true;
    for (int i = 1; i < argc; i++) {
        if (flags && strcmp(argv[i], "--") == 0) {
            flags = false;
        } else if (flags && argv[i][0] == '-' && argv[i][1]) {
            bool took_value = false;
            int r = parse_flag(o, argv[i], argv[i + 1], &took_value, err);
            if (r < 0)
                return r;
            i += took_value;
        } else if (n == 2) {
            return error_set(err, ERR_CONFIG, EINVAL, "one mount point, not \"%s\" too",
                             argv[i]);
        } else {
            names[n++] = argv[i];
        }
    }
    if (n == 0 && !o->help && !o->version)
        return error_set(err, ERR_CONFIG, EINVAL, "where to mount? try retlfs --help");
    o->source = n == 2 ? names[0] : "retlfs";
    o->mountpoint = n ? names[n - 1] : NULL;
    return 0;
}

void
options_done(struct options *o)
{
    free(o->state_dir);
    VEC_EACH (&o->allow_paths, path)
        free(*path);
    VEC_DONE(&o->allow_paths);
    VEC_EACH (&o->allow_env, name)
        free(*name);
    VEC_DONE(&o->allow_env);
    buf_done(&o->mount);
}
