/*
 * Whether a call has to do with the identities of changes at all. They cost a hash a row, and
 * most calls look at none.
 */
#pragma once

#include "http/connector.h"

/* Rather true once too often: whoever names an identity does it by the word. */
bool mention_identity(const struct connector *c, const struct connector_call *call,
                      const struct connector_use *use);
