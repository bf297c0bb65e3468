/* Syncs and runs as JSON: the form in which the ledger keeps them, and summary.json. */
#pragma once

#include "run/ledger.h"

/* New references; NULL when memory is out. A sync's lacks its schedule, which stands in it as
 * "schedule", written by itself. */
json_t *sync_record_to_json(const struct sync_record *record);
json_t *schedule_record_to_json(const struct schedule_record *record);
/* Fills all but uid, last_run; strings and lists in record->arena. */
int sync_record_from_json(const json_t *json, struct sync_record *record, struct error *err);

json_t *run_record_to_json(const struct run_record *record);
int run_record_from_json(const json_t *json, struct arena *arena, struct run_record *record);

/* -EUCLEAN: it is no JSON; -ENOMEM. */
int ledger_parse(const char *text, json_t **ret);
/* A string, whatever bytes it holds; null for NULL. */
json_t *ledger_text_to_json(const char *text);
