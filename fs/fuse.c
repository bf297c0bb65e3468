/*
 * Requests of the kernel in, answers out. Nothing is decided here: each function finds the
 * inode, calls what knows, and replies. No handler waits for a run or a network; a write to
 * `trigger` is answered later (trigger.c).
 */
#include "mount.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "dirs.h"
#include "errand.h"
#include "file.h"
#include "forget.h"
#include "inode.h"
#include "names.h"
#include "polls.h"
#include "process.h"
#include "trigger.h"
#include "watch.h"

enum { THREADS_MAX = 8, READ_MAX = 1048576 };

struct mount {
    struct fuse_session *fuse;
    struct fs fs;
    bool mounted;
    sigset_t signals; /* as they were before mount_open */
    void (*ready)(void *arg);
    void *ready_arg;
};

/* ---- from the kernel's words to ours ---- */

static struct mount *
mount_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

static struct fs *
fs_of(fuse_req_t req)
{
    return &mount_of(req)->fs;
}

static struct inode *
inode_at(fuse_req_t req, fuse_ino_t ino)
{
    return ino == FUSE_ROOT_ID ? &fs_of(req)->root : (struct inode *)(uintptr_t)ino;
}

static struct handle *
handle_of(const struct fuse_file_info *fi)
{
    return (struct handle *)(uintptr_t)fi->fh;
}

static struct caller
caller_of(fuse_req_t req)
{
    const struct fuse_ctx *c = fuse_req_ctx(req);
    return (struct caller){.uid = c->uid, .gid = c->gid, .pid = process_of(c->pid)};
}

static void
reply(fuse_req_t req, int r)
{
    fuse_reply_err(req, -r);
}

static struct fuse_entry_param
entry_of(const struct found *f)
{
    return (struct fuse_entry_param){
        .ino = (fuse_ino_t)(uintptr_t)f->inode,
        .attr = f->st,
        .attr_timeout = f->stat_timeout,
        .entry_timeout = f->name_timeout,
    };
}

static void
reply_found(fuse_req_t req, int r, const struct found *f)
{
    if (r < 0) {
        reply(req, r);
        return;
    }
    struct fuse_entry_param e = entry_of(f);
    if (fuse_reply_entry(req, &e) < 0)
        inode_forget(fs_of(req), f->inode, 1);
}

/* ---- names ---- */

static void
do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct found f;
    int r = names_lookup(fs_of(req), inode_at(req, parent), name, &f);
    if (r == 0)
        forget_note(fs_of(req)->forget, f.inode);
    reply_found(req, r, &f);
}

static void
do_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups)
{
    inode_forget(fs_of(req), inode_at(req, ino), lookups);
    fuse_reply_none(req);
}

static void
do_forget_multi(fuse_req_t req, size_t n, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < n; i++)
        inode_forget(fs_of(req), inode_at(req, forgets[i].ino), forgets[i].nlookup);
    fuse_reply_none(req);
}

static void
make(fuse_req_t req, fuse_ino_t parent, const char *name, enum node_kind kind, mode_t mode,
     const char *link)
{
    struct caller who = caller_of(req);
    struct found f;
    int r = names_make(fs_of(req), inode_at(req, parent), name, kind, mode, link, &who, &f);
    reply_found(req, r, &f);
}

static void
do_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    make(req, parent, name, NODE_DIR, mode, NULL);
}

static void
do_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    make(req, parent, name, NODE_LINK, 0777, target);
}

static void
do_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    if (S_ISREG(mode))
        make(req, parent, name, NODE_FILE, mode, NULL);
    else
        reply(req, -EPERM);
}

static void
do_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    reply(req, -EPERM);
}

static void
do_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct caller who = caller_of(req);
    reply(req, names_unlink(fs_of(req), inode_at(req, parent), name, &who));
}

static void
do_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct caller who = caller_of(req);
    reply(req, names_rmdir(fs_of(req), inode_at(req, parent), name, &who));
}

static void
do_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
          const char *new_name, unsigned flags)
{
    if (flags & ~(unsigned)RENAME_NOREPLACE) {
        reply(req, -EINVAL);
        return;
    }
    struct caller who = caller_of(req);
    reply(req, names_rename(fs_of(req), inode_at(req, parent), name, inode_at(req, new_parent),
                            new_name, flags & RENAME_NOREPLACE, &who));
}

static void
do_readlink(fuse_req_t req, fuse_ino_t ino)
{
    AUTO_BUF struct buf target = BUF_INIT(READ_MAX);
    int r = file_readlink(fs_of(req), inode_at(req, ino), &target);
    if (r < 0)
        reply(req, r);
    else
        fuse_reply_readlink(req, buf_z(&target));
}

/* ---- attributes ---- */

static void
do_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct inode *i = inode_at(req, ino);
    struct stat st;
    int r = inode_stat(fs_of(req), i, &st);
    if (r < 0)
        reply(req, r);
    else
        fuse_reply_attr(req, &st, names_stat_timeout(fs_of(req), i));
}

static void
do_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
           struct fuse_file_info *fi)
{
    struct inode *i = inode_at(req, ino);
    struct node to = {.mode = attr->st_mode & 07777,
                      .uid = attr->st_uid,
                      .gid = attr->st_gid,
                      .size = (uint64_t)attr->st_size,
                      .mtime = attr->st_mtim,
                      .atime = attr->st_atim};
    if (to_set & FUSE_SET_ATTR_MTIME_NOW)
        clock_gettime(CLOCK_REALTIME, &to.mtime);
    if (to_set & FUSE_SET_ATTR_ATIME_NOW)
        clock_gettime(CLOCK_REALTIME, &to.atime);
    unsigned what =
        (to_set & FUSE_SET_ATTR_MODE ? TREE_MODE : 0) |
        (to_set & FUSE_SET_ATTR_UID ? TREE_UID : 0) |
        (to_set & FUSE_SET_ATTR_GID ? TREE_GID : 0) |
        (to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW) ? TREE_MTIME : 0) |
        (to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW) ? TREE_ATIME : 0) |
        (to_set & FUSE_SET_ATTR_SIZE ? FILE_SIZE : 0);
    struct caller who = caller_of(req);
    struct stat st;
    int r = file_set(fs_of(req), i, fi ? handle_of(fi) : NULL, what, &to, &who, &st);
    if (r < 0)
        reply(req, r);
    else
        fuse_reply_attr(req, &st, names_stat_timeout(fs_of(req), i));
}

static void
do_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct statvfs st;
    if (statvfs(fs_of(req)->state_dir, &st) < 0) {
        reply(req, -errno);
        return;
    }
    st.f_namemax = 255;
    fuse_reply_statfs(req, &st);
}

/* ---- files ---- */

static int
open_file(fuse_req_t req, struct inode *i, bool created, struct fuse_file_info *fi,
          const struct caller *who)
{
    struct handle *h;
    int r = file_open(fs_of(req), i, fi->flags, created, who, &h);
    if (r < 0)
        return r;
    fi->fh = (uint64_t)(uintptr_t)h;
    fi->direct_io = file_is_direct(h);
    fi->keep_cache = 0;
    return 0;
}

static void
do_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct caller who = caller_of(req);
    int r = open_file(req, inode_at(req, ino), false, fi, &who);
    if (r < 0)
        reply(req, r);
    else if (fuse_reply_open(req, fi) < 0)
        file_release(fs_of(req), handle_of(fi));
}

static void
do_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
          struct fuse_file_info *fi)
{
    struct fs *fs = fs_of(req);
    struct inode *dir = inode_at(req, parent);
    struct caller who = caller_of(req);
    struct found f;
    int r = names_make(fs, dir, name, NODE_FILE, mode, NULL, &who, &f);
    bool created = r == 0;
    if (r == -EEXIST && !(fi->flags & O_EXCL)) /* made by another meanwhile */
        r = names_lookup(fs, dir, name, &f);
    if (r < 0) {
        reply(req, r);
        return;
    }
    r = open_file(req, f.inode, created, fi, &who);
    if (r < 0) {
        inode_forget(fs, f.inode, 1);
        reply(req, r);
        return;
    }
    struct fuse_entry_param e = entry_of(&f);
    if (created)
        e.entry_timeout = 0; /* it may be gone when its first text is refused */
    if (fuse_reply_create(req, &e, fi) < 0) {
        file_release(fs, handle_of(fi));
        inode_forget(fs, f.inode, 1);
    }
}

static void
do_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    AUTO_BUF struct buf out = BUF_INIT(BUF_NO_MAX);
    size_t n = size < READ_MAX ? size : READ_MAX;
    int r = file_read(fs_of(req), handle_of(fi), (uint64_t)offset, n, &out);
    if (r < 0)
        reply(req, r);
    else
        fuse_reply_buf(req, out.p, out.n);
}

static void
do_write(fuse_req_t req, fuse_ino_t ino, const char *p, size_t size, off_t offset,
         struct fuse_file_info *fi)
{
    struct handle *h = handle_of(fi);
    struct str bytes = {p, size};
    struct caller who = caller_of(req);
    if (h->kind == HANDLE_VERBS) {
        bool nowait = fi->flags & O_NONBLOCK;
        trigger_write(h->trigger, bytes, nowait, &who, fuse_req_ctx(req)->pid, req);
        return;
    }
    int r = file_write(fs_of(req), h, (uint64_t)offset, bytes, &who);
    if (r < 0)
        reply(req, r);
    else
        fuse_reply_write(req, size);
}

static void
do_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct caller who = caller_of(req);
    reply(req, file_flush(fs_of(req), handle_of(fi), &who));
}

static void
do_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    struct caller who = caller_of(req);
    reply(req, file_sync(fs_of(req), handle_of(fi), &who));
}

static void
do_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
             struct fuse_file_info *fi)
{
    reply(req, -EOPNOTSUPP);
}

static void
do_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct fuse_pollhandle *ph)
{
    fuse_reply_poll(req, polls_ask(fs_of(req), handle_of(fi), ph));
}

static void
on_change(void *arg, node_id sync)
{
    struct fs *fs = arg;
    watch_note(fs->watch, sync);
    polls_changed(fs, sync);
}

static void
do_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct handle *h = handle_of(fi);
    if (h->polled)
        polls_forget(fs_of(req), h);
    file_release(fs_of(req), h);
    reply(req, 0);
}

/* ---- directories ---- */

static void
do_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct dirs *d;
    int r = dirs_open(fs_of(req), inode_at(req, ino), &d);
    if (r < 0) {
        reply(req, r);
        return;
    }
    fi->fh = (uint64_t)(uintptr_t)d;
    if (fuse_reply_open(req, fi) < 0)
        dirs_close(d);
}

struct page {
    fuse_req_t req;
    struct inode *dir;
    char *p;
    size_t n, room;
};

/* True: it was added. */
static bool
add(void *arg, const struct listed *item)
{
    struct page *page = arg;
    size_t left = page->room - page->n;
    size_t n = fuse_add_direntry(page->req, page->p + page->n, left, item->name, &item->st,
                                 (off_t)item->next);
    page->n += n <= left ? n : 0;
    return n <= left;
}

/* With attributes it counts as a look-up, which is taken back when the name does not go out. */
static bool
add_plus(void *arg, const struct listed *item)
{
    struct page *page = arg;
    struct fuse_entry_param e = {.attr = item->st};
    struct found f = {0};
    if (item->worth_look_up && names_lookup(fs_of(page->req), page->dir, item->name, &f) == 0)
        e = entry_of(&f);
    size_t left = page->room - page->n;
    size_t n = fuse_add_direntry_plus(page->req, page->p + page->n, left, item->name, &e,
                                      (off_t)item->next);
    if (n > left && f.inode)
        inode_forget(fs_of(page->req), f.inode, 1);
    else if (f.inode)
        forget_note(fs_of(page->req)->forget, f.inode);
    page->n += n <= left ? n : 0;
    return n <= left;
}

/* As what it is not: see forget.h. */
static bool
add_forgotten(void *arg, const char *name)
{
    struct page *page = arg;
    const struct inode *nobody = &fs_of(page->req)->nobody;
    struct fuse_entry_param e = {.ino = (fuse_ino_t)(uintptr_t)nobody,
                                 .attr = {.st_ino = nobody->ino, .st_mode = S_IFDIR}};
    size_t left = page->room - page->n;
    size_t n = fuse_add_direntry_plus(page->req, page->p + page->n, left, name, &e, 1);
    page->n += n <= left ? n : 0;
    return n <= left;
}

static void
list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct dirs *d, bool plus)
{
    struct page page = {
        .req = req, .dir = inode_at(req, ino), .room = size < READ_MAX ? size : READ_MAX};
    AUTO_FREE char *p = page.p = malloc(page.room);
    if (!p) {
        reply(req, -ENOMEM);
        return;
    }
    int r = 0;
    if (!errands_runs(fs_of(req)->errands, fuse_req_ctx(req)->pid))
        r = dirs_list(d, (uint64_t)offset, plus ? add_plus : add, &page);
    else if (plus)
        forget_list(fs_of(req)->forget, add_forgotten, &page);
    if (r < 0 && page.n == 0)
        reply(req, r);
    else
        fuse_reply_buf(req, p, page.n);
}

static void
do_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    list(req, ino, size, offset, (struct dirs *)(uintptr_t)fi->fh, false);
}

static void
do_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
               struct fuse_file_info *fi)
{
    list(req, ino, size, offset, (struct dirs *)(uintptr_t)fi->fh, true);
}

static void
do_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    dirs_close((struct dirs *)(uintptr_t)fi->fh);
    reply(req, 0);
}

static void
do_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    reply(req, 0); /* every change of a name is durable before its answer */
}

/* ---- trigger's requests ---- */

static void
answer_write(void *request, int errnum, size_t size)
{
    if (errnum)
        fuse_reply_err(request, errnum);
    else
        fuse_reply_write(request, size);
}

static void
interrupted(fuse_req_t req, void *arg)
{
    trigger_interrupted(arg);
}

static void
watch_request(void *request, void *arg)
{
    fuse_req_interrupt_func(request, interrupted, arg);
}

static void
unwatch_request(void *request)
{
    fuse_req_interrupt_func(request, NULL, NULL);
}

static const struct trigger_request_ops request_ops = {
    .answer = answer_write, .watch = watch_request, .unwatch = unwatch_request};

/* ---- the session ---- */

static void
do_init(void *arg, struct fuse_conn_info *conn)
{
    struct mount *s = arg;
    /* With it a refused text would be lost in silence: write(2) would not wait for us. */
    conn->want &= ~(unsigned)FUSE_CAP_WRITEBACK_CACHE;
    conn->want |= conn->capable &
                  (FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_READDIRPLUS |
                   FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_PARALLEL_DIROPS);
    if (s->ready)
        s->ready(s->ready_arg);
}

static const struct fuse_lowlevel_ops operations = {
    .init = do_init,
    .lookup = do_lookup,
    .forget = do_forget,
    .forget_multi = do_forget_multi,
    .getattr = do_getattr,
    .setattr = do_setattr,
    .readlink = do_readlink,
    .mknod = do_mknod,
    .mkdir = do_mkdir,
    .unlink = do_unlink,
    .rmdir = do_rmdir,
    .symlink = do_symlink,
    .rename = do_rename,
    .link = do_link,
    .open = do_open,
    .create = do_create,
    .read = do_read,
    .write = do_write,
    .flush = do_flush,
    .release = do_release,
    .fsync = do_fsync,
    .fallocate = do_fallocate,
    .poll = do_poll,
    .opendir = do_opendir,
    .readdir = do_readdir,
    .readdirplus = do_readdirplus,
    .releasedir = do_releasedir,
    .fsyncdir = do_fsyncdir,
    .statfs = do_statfs,
};

const char *
mount_library_version(void)
{
    return fuse_pkgversion();
}

/* A comma separates options; in a value it is escaped. */
static void
add_escaped(struct buf *out, const char *value)
{
    for (; *value; value++) {
        if (*value == ',' || *value == '\\')
            buf_addc(out, '\\');
        buf_addc(out, *value);
    }
}

/* Threads made from here on leave the signals to the main one, which is woken by them; and
 * none that comes early may leave a dead mount behind. */
static void
block_signals(sigset_t *before)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, before);
}

int
mount_open(const struct mount_settings *settings, struct mount **ret, struct error *err)
{
    struct mount *s = calloc(1, sizeof *s);
    AUTO_BUF struct buf options = BUF_INIT(65536);
    buf_adds(&options, "default_permissions,subtype=retlfs,fsname=");
    add_escaped(&options, settings->source);
    if (settings->options[0])
        buf_addf(&options, ",%s", settings->options);
    if (!s || options.failed) {
        free(s);
        return error_no_memory(err);
    }
    const char *argv[] = {"retlfs", "-o", buf_z(&options), settings->debug ? "-d" : NULL};
    struct fuse_args args = FUSE_ARGS_INIT(settings->debug ? 4 : 3, (char **)argv);
    s->fuse = fuse_session_new(&args, &operations, sizeof operations, s);
    fuse_opt_free_args(&args);
    if (!s->fuse) {
        free(s);
        return error_set(err, ERR_CONFIG, EINVAL, "mount options not understood: %s",
                         settings->options);
    }
    block_signals(&s->signals);
    if (fuse_session_mount(s->fuse, settings->mountpoint) != 0) {
        fuse_session_destroy(s->fuse);
        free(s);
        return error_set(err, ERR_INTERNAL, EIO, "could not mount on %s", settings->mountpoint);
    }
    s->mounted = true;
    s->fs.errands = settings->errands;
    s->fs.uid = getuid();
    s->fs.gid = getgid();
    s->fs.state_dir = settings->state_dir;
    clock_gettime(CLOCK_REALTIME, &s->fs.started);
    if (inode_table_init(&s->fs) < 0) {
        mount_close(s);
        return error_no_memory(err);
    }
    *ret = s;
    return 0;
}

static int
loop(struct mount *s, struct error *err)
{
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    if (!config)
        return error_no_memory(err);
    fuse_loop_cfg_set_max_threads(config, THREADS_MAX);
    fuse_loop_cfg_set_clone_fd(config, 0);
    int r = fuse_session_loop_mt(s->fuse, config);
    fuse_loop_cfg_destroy(config);
    if (r < 0)
        return error_set_errno(err, ERR_INTERNAL, -r, "the mount broke off");
    return 0; /* unmounted, or the number of a signal */
}

static int
start(struct mount *s, struct error *err)
{
    struct fs *fs = &s->fs;
    fs->triggers = triggers_create(fs->engine, &request_ops);
    fs->watch = watch_create(fs);
    fs->forget = forget_create(fs);
    if (!fs->triggers || !fs->watch || !fs->forget)
        return error_no_memory(err);
    engine_on_change(fs->engine, on_change, fs);
    int r = engine_start(fs->engine, err);
    if (r < 0)
        return r;
    r = triggers_start(fs->triggers);
    if (r == 0)
        r = watch_start(fs->watch);
    if (r == 0)
        r = forget_start(fs->forget);
    if (r < 0)
        return error_set_errno(err, ERR_INTERNAL, -r, "could not start a thread");
    return 0;
}

/* Those who wait are told before the mount goes, and the engine goes last: by then nobody holds
 * anything of it. */
static void
stop(struct mount *s)
{
    struct fs *fs = &s->fs;
    if (fs->triggers)
        triggers_stop(fs->triggers);
    if (fs->watch)
        watch_stop(fs->watch);
    if (fs->forget)
        forget_stop(fs->forget);
    fuse_session_unmount(s->fuse);
    s->mounted = false;
    if (fs->watch)
        watch_join(fs->watch);
    while (fs->polls)
        polls_forget(fs, fs->polls);
    file_close_all(fs);
    dirs_close_all(fs);
    inode_table_done(fs);
    fs->forget = forget_free(fs->forget);
    engine_close(fs->engine);
    fs->triggers = triggers_free(fs->triggers);
    fs->watch = watch_free(fs->watch);
}

int
mount_serve(struct mount *s, struct engine *engine, void (*ready)(void *arg), void *arg,
            struct error *err)
{
    s->fs.engine = engine;
    s->ready = ready;
    s->ready_arg = arg;
    int r = start(s, err);
    if (r == 0 && fuse_set_signal_handlers(s->fuse) != 0)
        r = error_set(err, ERR_INTERNAL, EIO, "could not set signal handlers");
    if (r == 0) {
        sigset_t blocked;
        pthread_sigmask(SIG_SETMASK, &s->signals, NULL);
        r = loop(s, err);
        block_signals(&blocked); /* a second one must not cut the end short */
        fuse_remove_signal_handlers(s->fuse);
    }
    stop(s);
    return r;
}

struct mount *
mount_close(struct mount *s)
{
    if (!s)
        return NULL;
    if (s->mounted)
        fuse_session_unmount(s->fuse);
    fuse_session_destroy(s->fuse);
    free(s);
    return NULL;
}
