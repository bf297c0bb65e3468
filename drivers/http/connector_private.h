/* Between the parts of a manifest's reading. */
#pragma once

#include "http/connector.h"

enum { CONNECTOR_WHERE_MAX = 128 };

/* The member "connection" or "destination": a table with the connector's name at its head. */
int connector_take_options(struct connector *c, const char *member, const struct option **ret,
                           size_t *size, struct error *err);
/* What it is; NULL: there can be no such option. */
const struct option *connector_find_option(const struct connector *c, const char *name);
/* "headers" and the like: NULL, or an object of text templates. Adds to *names. */
int connector_check_texts(const struct connector *c, const json_t *object, const char *where,
                          unsigned *names, struct error *err);
int connector_take_answer(const json_t *object, const char *where, struct answer_rules **ret,
                          struct error *err);
/* "exceptions" before the rules `above`, or "answer" instead of them; else nothing. */
int connector_take_answers(const json_t *above, const json_t *object, const char *where,
                           struct connector_call *call, struct error *err);
/* What calls and look-ups have in common: the request, and its pace. */
int connector_take_request(struct connector *c, const json_t *object, const char *where,
                           struct connector_call *call, struct error *err);
/* Whether the request tells of all rows that it may have. */
int connector_check_rows(const struct connector *c, const json_t *object, const char *where,
                         const struct connector_call *call, struct error *err);
int connector_take_call(struct connector *c, const json_t *object, const char *where,
                        struct connector_call *call, struct error *err);
/* The member "look_up" of a call. */
int connector_take_look_up(struct connector *c, const json_t *object, const char *where,
                           struct connector_call *of, struct error *err);
int connector_take_calls(struct connector *c, struct error *err);
void connector_done_call(struct connector_call *call);
int connector_take_rate(struct connector *c, struct error *err);
int connector_take_call_rate(const json_t *object, const char *where,
                             struct connector_call *call, struct error *err);
int connector_take_quota(struct connector *c, struct error *err);
