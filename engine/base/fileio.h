/* Files of the state directory: whole reads and writes, and writes that survive a crash. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/cancel.h"
#include "base/error.h"

/* All n bytes or an error (EINTR and short writes handled). 0 or -errno. */
int file_write_all(int fd, const void *p, size_t n, struct error *err);
/* All n bytes at off; a file that ends before is ERR_DATA ("cut short"). 0 or -errno. */
int file_read_at(int fd, void *p, size_t n, off_t off, struct error *err);
/* Appends the file to *out (its cap holds). 0 or -errno. */
int file_read_whole(int dirfd, const char *path, struct buf *out, struct error *err);
/* fsyncs the file, which messages call `name`. A large one goes out piece by piece, and between
 * them ERR_CANCELLED ends it. */
int file_sync_data(int fd, const char *name, const atomic_bool *cancelled, struct error *err);
/* fsyncs the directory itself: makes created, renamed and removed names durable. */
int file_sync_dir(int dirfd, struct error *err);
/* mkdir that does not mind an existing directory; returns an O_DIRECTORY descriptor or -errno.
 */
int file_make_dir(int dirfd, const char *name, struct error *err);
/* Removes a directory and what is in it (no links followed). Missing is fine. */
int file_remove_tree(int dirfd, const char *name, struct error *err);
