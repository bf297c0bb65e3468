/*
 * What of this machine definitions may reach. On a mount of one's own: all that the daemon may.
 * On a shared one (allow_other) whoever may write a connection would borrow the daemon's
 * rights, so paths in definitions lead only to and below the directories that were allowed,
 * `..` and symlinks included; commands run only if that was allowed; and of the environment is
 * left what no secret is kept in. Set before there are threads, only read after. (The
 * surprising thing: a driver must open what a definition names through here, not with open(2).)
 */
#pragma once

#include <dirent.h>
#include <glob.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "base/error.h"

/* From now on nothing can be reached but what is allowed. */
void reach_limit(void);
bool reach_is_limited(void);
/* `dir`: an absolute path of a directory that is there. Paths must begin with it as it is
 * written here. */
int reach_allow_path(const char *dir, struct error *err);
void reach_allow_command(void);
bool reach_may_command(void);
/* Takes everything out of the environment but PATH, HOME, the locale, time zone and proxies,
 * and those of the names in `keep` (borrowed for good). */
int reach_forget_environment(const char *const *keep, size_t n, struct error *err);
/* Of what is left, a definition may name only those as where a secret is: the address of a
 * proxy may hold a password. */
bool reach_may_env(const char *name);

/* For validation, without a look at the filesystem: 0, or ERR_CONFIG, EACCES and where it may
 * lead. A path that begins well is judged again, link by link, when it is opened. */
int reach_check(const char *path, struct error *err);
/* As open(2) and stat(2) or lstat(2), of an absolute path. A descriptor or 0, or -errno: -EXDEV
 * when it leads out. */
int reach_open(const char *path, int flags, mode_t mode);
int reach_stat(const char *path, bool follow, struct stat *ret);
/* As glob(3) with flags; never looks into a directory that must not be reached. */
int reach_glob(const char *pattern, int flags, glob_t *ret);
/* For libraries that open by name: the path without links, owned by the caller, of a file that
 * is there or is to be made in a directory that is. To be opened without following links. 0 or
 * -errno as reach_open. */
int reach_resolve(const char *path, char **ret);
/* Fills err from what the above returned. */
int reach_fail(struct error *err, int r, const char *path);
