/* Days of the (proleptic) Gregorian calendar as dates, and back. */
#pragma once

#include <stdint.h>

/* Days since 1970-01-01. Years before 1 are 0, -1, …; month from 1. */
int64_t civil_days(int64_t year, unsigned month, unsigned day);
void civil_date(int64_t days, int64_t *year, unsigned *month, unsigned *day);
