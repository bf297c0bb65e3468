/*
 * What the state directory remembers and the catalogue does not: a catalogue that was damaged,
 * or put back from an older copy, no longer knows what was delivered since, and a run over it
 * would send that a second time.
 */
#pragma once

#include "catalog/catalog.h"

/* *newest: the highest number of a run of that sync, last_run unless runs were forgotten. */
int forgotten_runs(int dirfd, uint64_t last_run, uint64_t *newest, struct error *err);
/* Logs which directories below syncs/ belong to no sync of the catalogue. */
int forgotten_syncs(struct catalog *c, int state_fd, struct error *err);
