/*
 * Runs that nobody asked for by hand: starts a sync when its `schedule` says so, as its owner
 * would with "start".
 *
 * What came due is settled by writing down, with the sync, until when it was looked at and
 * which run was asked for. So what was missed while no daemon ran is seen at the next start and
 * run once, however often it was due; and a run that was asked for and never began is asked for
 * again.
 */
#pragma once

#include "run/engine_private.h"

/* Fills what a view says of its schedule, adding to notes (lines) what is wrong with it. */
void scheduler_describe(struct engine *e, node_id id, struct sync_view *v, struct buf *notes);
/* A new view stands: wakes the thread if that is sooner than it would look. The lock must be
 * held. */
void scheduler_look_at(struct engine *e, const struct sync_view *v);

void scheduler_init(struct engine *e);
void scheduler_done(struct engine *e);
int scheduler_start(struct engine *e, struct error *err);
void scheduler_stop(struct engine *e);
/* Starts what is due by clock_now; returns when to look again (INT64_MAX: nothing is planned).
 * The thread does this; tests that move the clock do it themselves. */
usec_t scheduler_tick(struct engine *e);

/* The verbs: pauses or resumes the schedule of a sync. */
int scheduler_pause(struct engine *e, node_id id, bool pause, const struct caller *who,
                    struct error *err);
