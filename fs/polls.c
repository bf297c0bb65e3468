/* Who polls, and whom to wake: see polls.h. */
#include "polls.h"

#include <fuse_lowlevel.h>
#include <poll.h>

#include "file.h"

void
polls_forget(struct fs *fs, struct handle *h)
{
    pthread_mutex_lock(&fs->polls_lock);
    struct fuse_pollhandle *ph = h->poll;
    h->poll = NULL;
    for (struct handle **at = &fs->polls; *at; at = &(*at)->next_poll) {
        if (*at == h) {
            *at = h->next_poll;
            break;
        }
    }
    pthread_mutex_unlock(&fs->polls_lock);
    if (ph)
        fuse_pollhandle_destroy(ph);
}

unsigned
polls_ask(struct fs *fs, struct handle *h, struct fuse_pollhandle *ph)
{
    unsigned events = POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM;
    struct fuse_pollhandle *old = ph;
    if (h->kind == HANDLE_TEXT && !h->inode->node && h->inode->place.item->flags & ITEM_POLL) {
        events = POLLIN | POLLRDNORM;
        pthread_mutex_lock(&fs->polls_lock);
        if (!h->polled) {
            h->polled = true;
            h->next_poll = fs->polls;
            fs->polls = h;
        }
        if (h->changed)
            events |= POLLPRI | POLLERR;
        if (ph) {
            old = h->poll;
            h->poll = ph;
        }
        pthread_mutex_unlock(&fs->polls_lock);
    }
    if (old)
        fuse_pollhandle_destroy(old);
    return events;
}

void
polls_changed(struct fs *fs, node_id sync)
{
    pthread_mutex_lock(&fs->polls_lock);
    for (struct handle *h = fs->polls; h; h = h->next_poll) {
        node_id of = h->inode->place.sync;
        if (of && of != sync)
            continue;
        h->changed = true;
        if (h->poll) {
            fuse_lowlevel_notify_poll(h->poll);
            fuse_pollhandle_destroy(h->poll);
            h->poll = NULL;
        }
    }
    pthread_mutex_unlock(&fs->polls_lock);
}
