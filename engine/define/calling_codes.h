/*
 * What is known of each country's telephone numbers: calling code, what is dialled before a
 * national number and is no part of it, how long the numbers of people are (fixed and mobile,
 * with their area code). A country whose leading 0 nobody can be sure about says so.
 */
#pragma once

#include "base/buf.h"

/* The prefix for calls inside the country. */
enum trunk {
    NO_TRUNK,  /* none, or it is not sure what a leading 0 means */
    KEEPS_0,   /* none, and numbers may begin with 0: Italy's do (min, max: of the others) */
    TRUNK_0,   /* 0, with which no number begins */
    TRUNK_1,   /* 1, North America: ten digits, no area begins with 0 or 1 */
    TRUNK_8,   /* 8, with which numbers may begin, too */
    TRUNK_80,  /* Belarus: 8, then 0 and the area */
    TRUNK_06,  /* Hungary */
    TRUNK_0_8, /* Lithuania: 0, before 2023 it was 8 */
    TRUNK_MASK = 0xF,

    /* The prefix for calls abroad, if not 00. */
    FROM_011 = 0x10,
    FROM_0011 = 0x20,
    FROM_010 = 0x30,
    FROM_OTHER = 0x40, /* several, or a carrier's code stands in it */
    FROM_MASK = 0x70,

    OWN_CODE = 0x80, /* numbers may begin with the country's own calling code */
};

struct calling_code {
    char region[3];
    uint16_t code;
    uint8_t rule; /* enum trunk */
    uint8_t min, max;
};

/* By two letters of any case ("UK" is taken for GB), or a calling code with or without +. */
const struct calling_code *calling_code_find(struct str country);
/* The one that international digits begin with; of several countries that share it the first.
 * NULL: none that is known. */
const struct calling_code *calling_code_of(struct str digits);
/* Whether the digits begin with its code, and go on. */
bool calling_code_begins(const struct calling_code *c, struct str digits);
size_t calling_code_digits(const struct calling_code *c);

/* All of them, for tests. */
const struct calling_code *calling_code_at(size_t i);
