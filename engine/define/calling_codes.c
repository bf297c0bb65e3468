/*
 * Countries and their telephone numbers: see calling_codes.h. In the order of regions. Facts of
 * the national numbering plans (ITU-T E.164 and E.129), all compared with libphonenumber 9.0's.
 */
#include "define/calling_codes.h"

#include <stdlib.h>

static const struct calling_code codes[] = {
    {"AC", 247, NO_TRUNK, 5, 5},
    {"AD", 376, NO_TRUNK, 6, 9},
    {"AE", 971, TRUNK_0, 8, 9},
    {"AF", 93, TRUNK_0, 9, 9},
    {"AG", 1, TRUNK_1 | FROM_011, 10, 10},
    {"AI", 1, TRUNK_1 | FROM_011, 10, 10},
    {"AL", 355, TRUNK_0, 8, 9},
    {"AM", 374, TRUNK_0, 8, 8},
    {"AO", 244, NO_TRUNK, 9, 9},
    {"AR", 54, TRUNK_0, 10, 11},
    {"AS", 1, TRUNK_1 | FROM_011, 10, 10},
    {"AT", 43, TRUNK_0 | OWN_CODE, 4, 13},
    {"AU", 61, TRUNK_0 | FROM_0011, 9, 9},
    {"AW", 297, NO_TRUNK, 7, 7},
    {"AX", 358, TRUNK_0 | OWN_CODE, 5, 10},
    {"AZ", 994, TRUNK_0, 9, 9},
    {"BA", 387, TRUNK_0, 8, 9},
    {"BB", 1, TRUNK_1 | FROM_011, 10, 10},
    {"BD", 880, TRUNK_0, 6, 10},
    {"BE", 32, TRUNK_0, 8, 9},
    {"BF", 226, KEEPS_0, 8, 8},
    {"BG", 359, TRUNK_0, 6, 9},
    {"BH", 973, NO_TRUNK, 8, 8},
    {"BI", 257, NO_TRUNK, 8, 8},
    {"BJ", 229, KEEPS_0, 10, 10},
    {"BL", 590, TRUNK_0, 9, 9},
    {"BM", 1, TRUNK_1 | FROM_011, 10, 10},
    {"BN", 673, NO_TRUNK, 7, 7},
    {"BO", 591, TRUNK_0 | FROM_OTHER, 8, 8},
    {"BQ", 599, NO_TRUNK, 7, 8},
    {"BR", 55, TRUNK_0 | FROM_OTHER, 10, 11},
    {"BS", 1, TRUNK_1 | FROM_011, 10, 10},
    {"BT", 975, NO_TRUNK, 7, 8},
    {"BW", 267, NO_TRUNK, 7, 8},
    {"BY", 375, TRUNK_80 | FROM_OTHER, 9, 9},
    {"BZ", 501, NO_TRUNK, 7, 7},
    {"CA", 1, TRUNK_1 | FROM_011, 10, 10},
    {"CC", 61, TRUNK_0 | FROM_0011, 9, 9},
    {"CD", 243, TRUNK_0, 7, 10},
    {"CF", 236, NO_TRUNK, 8, 8},
    {"CG", 242, KEEPS_0, 9, 9},
    {"CH", 41, TRUNK_0, 9, 9},
    {"CI", 225, KEEPS_0, 10, 10},
    {"CK", 682, NO_TRUNK, 5, 5},
    {"CL", 56, NO_TRUNK, 9, 9},
    {"CM", 237, NO_TRUNK, 9, 9},
    {"CN", 86, TRUNK_0, 7, 11},
    {"CO", 57, TRUNK_0 | FROM_OTHER, 8, 10},
    {"CR", 506, NO_TRUNK, 8, 8},
    {"CU", 53, TRUNK_0 | FROM_OTHER | OWN_CODE, 6, 10},
    {"CV", 238, NO_TRUNK | FROM_OTHER, 7, 7},
    {"CW", 599, NO_TRUNK, 7, 8},
    {"CX", 61, TRUNK_0 | FROM_0011, 9, 9},
    {"CY", 357, NO_TRUNK, 8, 8},
    {"CZ", 420, NO_TRUNK, 9, 9},
    {"DE", 49, TRUNK_0 | OWN_CODE, 5, 15},
    {"DJ", 253, NO_TRUNK, 8, 8},
    {"DK", 45, NO_TRUNK, 8, 8},
    {"DM", 1, TRUNK_1 | FROM_011, 10, 10},
    {"DO", 1, TRUNK_1 | FROM_011, 10, 10},
    {"DZ", 213, TRUNK_0, 8, 9},
    {"EC", 593, TRUNK_0, 8, 9},
    {"EE", 372, NO_TRUNK, 7, 8},
    {"EG", 20, TRUNK_0, 8, 10},
    {"EH", 212, TRUNK_0, 9, 9},
    {"ER", 291, TRUNK_0, 7, 7},
    {"ES", 34, NO_TRUNK, 9, 9},
    {"ET", 251, TRUNK_0, 9, 9},
    {"FI", 358, TRUNK_0 | OWN_CODE, 5, 10},
    {"FJ", 679, NO_TRUNK, 7, 7},
    {"FK", 500, NO_TRUNK, 5, 5},
    {"FM", 691, NO_TRUNK, 7, 7},
    {"FO", 298, NO_TRUNK, 6, 6},
    {"FR", 33, TRUNK_0, 9, 9},
    {"GA", 241, NO_TRUNK, 7, 8},
    {"GB", 44, TRUNK_0, 9, 10},
    {"GD", 1, TRUNK_1 | FROM_011, 10, 10},
    {"GE", 995, TRUNK_0, 9, 9},
    {"GF", 594, TRUNK_0, 9, 9},
    {"GG", 44, TRUNK_0, 10, 10},
    {"GH", 233, TRUNK_0, 9, 9},
    {"GI", 350, NO_TRUNK, 8, 8},
    {"GL", 299, NO_TRUNK, 6, 6},
    {"GM", 220, NO_TRUNK, 7, 9},
    {"GN", 224, NO_TRUNK, 8, 9},
    {"GP", 590, TRUNK_0, 9, 9},
    {"GQ", 240, NO_TRUNK, 9, 9},
    {"GR", 30, NO_TRUNK, 10, 10},
    {"GT", 502, NO_TRUNK, 8, 8},
    {"GU", 1, TRUNK_1 | FROM_011, 10, 10},
    {"GW", 245, NO_TRUNK, 9, 9},
    {"GY", 592, NO_TRUNK | FROM_OTHER, 7, 7},
    {"HK", 852, NO_TRUNK | FROM_OTHER, 8, 8},
    {"HN", 504, NO_TRUNK, 8, 8},
    {"HR", 385, TRUNK_0, 8, 9},
    {"HT", 509, NO_TRUNK, 8, 8},
    {"HU", 36, TRUNK_06, 8, 9},
    {"ID", 62, TRUNK_0 | FROM_OTHER | OWN_CODE, 7, 12},
    {"IE", 353, TRUNK_0, 7, 10},
    {"IL", 972, TRUNK_0, 8, 12},
    {"IM", 44, TRUNK_0, 10, 10},
    {"IN", 91, TRUNK_0, 10, 10},
    {"IO", 246, NO_TRUNK, 7, 7},
    {"IQ", 964, TRUNK_0, 8, 10},
    {"IR", 98, TRUNK_0, 6, 10},
    {"IS", 354, NO_TRUNK, 7, 9},
    {"IT", 39, KEEPS_0 | OWN_CODE, 9, 10},
    {"JE", 44, TRUNK_0, 10, 10},
    {"JM", 1, TRUNK_1 | FROM_011, 10, 10},
    {"JO", 962, TRUNK_0, 8, 9},
    {"JP", 81, TRUNK_0 | FROM_010, 9, 10},
    {"KE", 254, TRUNK_0 | FROM_OTHER, 7, 9},
    {"KG", 996, TRUNK_0, 9, 9},
    {"KH", 855, TRUNK_0 | FROM_OTHER, 8, 9},
    {"KI", 686, TRUNK_0, 5, 8},
    {"KM", 269, NO_TRUNK, 7, 7},
    {"KN", 1, TRUNK_1 | FROM_011, 10, 10},
    {"KP", 850, TRUNK_0, 8, 10},
    {"KR", 82, TRUNK_0 | FROM_OTHER, 5, 10},
    {"KW", 965, NO_TRUNK, 8, 8},
    {"KY", 1, TRUNK_1 | FROM_011, 10, 10},
    {"KZ", 7, TRUNK_8 | FROM_OTHER, 10, 10},
    {"LA", 856, TRUNK_0, 8, 10},
    {"LB", 961, TRUNK_0, 7, 8},
    {"LC", 1, TRUNK_1 | FROM_011, 10, 10},
    {"LI", 423, TRUNK_0, 7, 9},
    {"LK", 94, TRUNK_0, 9, 9},
    {"LR", 231, TRUNK_0, 7, 9},
    {"LS", 266, NO_TRUNK, 8, 8},
    {"LT", 370, TRUNK_0_8, 8, 8},
    {"LU", 352, NO_TRUNK, 4, 11},
    {"LV", 371, NO_TRUNK, 8, 8},
    {"LY", 218, TRUNK_0, 9, 9},
    {"MA", 212, TRUNK_0, 9, 9},
    {"MC", 377, TRUNK_0, 8, 9},
    {"MD", 373, TRUNK_0, 8, 8},
    {"ME", 382, TRUNK_0, 8, 8},
    {"MF", 590, TRUNK_0, 9, 9},
    {"MG", 261, TRUNK_0, 9, 9},
    {"MH", 692, NO_TRUNK | FROM_011, 7, 7},
    {"MK", 389, TRUNK_0, 8, 8},
    {"ML", 223, NO_TRUNK, 8, 8},
    {"MM", 95, TRUNK_0 | OWN_CODE, 6, 10},
    {"MN", 976, TRUNK_0 | FROM_OTHER, 8, 10},
    {"MO", 853, NO_TRUNK, 8, 8},
    {"MP", 1, TRUNK_1 | FROM_011, 10, 10},
    {"MQ", 596, TRUNK_0, 9, 9},
    {"MR", 222, NO_TRUNK, 8, 8},
    {"MS", 1, TRUNK_1 | FROM_011, 10, 10},
    {"MT", 356, NO_TRUNK, 8, 8},
    {"MU", 230, NO_TRUNK, 7, 8},
    {"MV", 960, NO_TRUNK, 7, 7},
    {"MW", 265, TRUNK_0, 7, 9},
    {"MX", 52, NO_TRUNK, 10, 10},
    {"MY", 60, TRUNK_0, 8, 10},
    {"MZ", 258, NO_TRUNK, 8, 9},
    {"NA", 264, TRUNK_0, 8, 9},
    {"NC", 687, NO_TRUNK, 6, 6},
    {"NE", 227, NO_TRUNK, 8, 8},
    {"NF", 672, NO_TRUNK, 6, 6},
    {"NG", 234, TRUNK_0 | FROM_OTHER, 10, 10},
    {"NI", 505, NO_TRUNK, 8, 8},
    {"NL", 31, TRUNK_0, 9, 11},
    {"NO", 47, NO_TRUNK, 8, 8},
    {"NP", 977, TRUNK_0, 8, 10},
    {"NR", 674, NO_TRUNK, 7, 7},
    {"NU", 683, NO_TRUNK, 4, 7},
    {"NZ", 64, TRUNK_0, 8, 10},
    {"OM", 968, NO_TRUNK, 8, 8},
    {"PA", 507, NO_TRUNK, 7, 8},
    {"PE", 51, TRUNK_0, 8, 9},
    {"PF", 689, NO_TRUNK, 8, 8},
    {"PG", 675, NO_TRUNK, 7, 8},
    {"PH", 63, TRUNK_0 | OWN_CODE, 6, 10},
    {"PK", 92, TRUNK_0, 9, 10},
    {"PL", 48, NO_TRUNK, 9, 9},
    {"PM", 508, TRUNK_0, 6, 9},
    {"PR", 1, TRUNK_1 | FROM_011, 10, 10},
    {"PS", 970, TRUNK_0, 8, 9},
    {"PT", 351, NO_TRUNK, 9, 9},
    {"PW", 680, NO_TRUNK | FROM_OTHER, 7, 7},
    {"PY", 595, TRUNK_0, 7, 9},
    {"QA", 974, NO_TRUNK, 8, 8},
    {"RE", 262, TRUNK_0, 9, 9},
    {"RO", 40, TRUNK_0, 6, 9},
    {"RS", 381, TRUNK_0, 7, 12},
    {"RU", 7, TRUNK_8 | FROM_OTHER, 10, 10},
    {"RW", 250, TRUNK_0, 8, 9},
    {"SA", 966, TRUNK_0, 9, 9},
    {"SB", 677, NO_TRUNK, 5, 7},
    {"SC", 248, NO_TRUNK, 7, 7},
    {"SD", 249, TRUNK_0, 9, 9},
    {"SE", 46, TRUNK_0 | OWN_CODE, 7, 9},
    {"SG", 65, NO_TRUNK | FROM_OTHER, 8, 8},
    {"SH", 290, NO_TRUNK, 4, 5},
    {"SI", 386, TRUNK_0, 8, 8},
    {"SJ", 47, NO_TRUNK, 8, 8},
    {"SK", 421, TRUNK_0, 9, 9},
    {"SL", 232, TRUNK_0, 8, 8},
    {"SM", 378, KEEPS_0, 8, 10},
    {"SN", 221, NO_TRUNK, 9, 9},
    {"SO", 252, TRUNK_0, 6, 9},
    {"SR", 597, NO_TRUNK, 6, 7},
    {"SS", 211, TRUNK_0, 9, 9},
    {"ST", 239, NO_TRUNK, 7, 7},
    {"SV", 503, NO_TRUNK, 8, 8},
    {"SX", 1, TRUNK_1 | FROM_011, 10, 10},
    {"SY", 963, TRUNK_0, 8, 9},
    {"SZ", 268, NO_TRUNK, 8, 8},
    {"TA", 290, NO_TRUNK, 4, 4},
    {"TC", 1, TRUNK_1 | FROM_011, 10, 10},
    {"TD", 235, NO_TRUNK, 8, 8},
    {"TG", 228, NO_TRUNK, 8, 8},
    {"TH", 66, TRUNK_0 | FROM_OTHER, 8, 9},
    {"TJ", 992, KEEPS_0 | FROM_OTHER, 9, 9},
    {"TK", 690, NO_TRUNK, 4, 7},
    {"TL", 670, NO_TRUNK, 7, 8},
    {"TM", 993, TRUNK_8 | FROM_OTHER, 8, 8},
    {"TN", 216, NO_TRUNK, 8, 8},
    {"TO", 676, NO_TRUNK, 5, 7},
    {"TR", 90, TRUNK_0, 10, 10},
    {"TT", 1, TRUNK_1 | FROM_011, 10, 10},
    {"TV", 688, NO_TRUNK, 5, 7},
    {"TW", 886, TRUNK_0 | FROM_OTHER, 8, 9},
    {"TZ", 255, TRUNK_0 | FROM_OTHER, 9, 9},
    {"UA", 380, TRUNK_0, 9, 9},
    {"UG", 256, TRUNK_0 | FROM_OTHER, 9, 9},
    {"US", 1, TRUNK_1 | FROM_011, 10, 10},
    {"UY", 598, TRUNK_0, 8, 8},
    {"UZ", 998, NO_TRUNK, 9, 9},
    {"VA", 39, KEEPS_0 | OWN_CODE, 9, 10},
    {"VC", 1, TRUNK_1 | FROM_011, 10, 10},
    {"VE", 58, TRUNK_0, 10, 10},
    {"VG", 1, TRUNK_1 | FROM_011, 10, 10},
    {"VI", 1, TRUNK_1 | FROM_011, 10, 10},
    {"VN", 84, TRUNK_0, 9, 10},
    {"VU", 678, NO_TRUNK, 5, 7},
    {"WF", 681, NO_TRUNK, 6, 6},
    {"WS", 685, NO_TRUNK | FROM_OTHER, 5, 10},
    {"XK", 383, TRUNK_0 | OWN_CODE, 8, 12},
    {"YE", 967, TRUNK_0, 7, 9},
    {"YT", 262, TRUNK_0, 9, 9},
    {"ZA", 27, TRUNK_0, 9, 9},
    {"ZM", 260, TRUNK_0, 9, 9},
    {"ZW", 263, TRUNK_0, 9, 9},
};
enum { CODES = sizeof codes / sizeof *codes };

static int
compare_region(const void *key, const void *item)
{
    return memcmp(key, ((const struct calling_code *)item)->region, 2);
}

static const struct calling_code *
find_region(const char *p)
{
    char region[2] = {(char)(p[0] & ~32), (char)(p[1] & ~32)};
    if (memcmp(region, "UK", 2) == 0)
        memcpy(region, "GB", 2);
    return bsearch(region, codes, CODES, sizeof *codes, compare_region);
}

size_t
calling_code_digits(const struct calling_code *c)
{
    return c->code < 10 ? 1 : c->code < 100 ? 2 : 3;
}

const struct calling_code *
calling_code_of(struct str digits)
{
    unsigned value[4] = {0}; /* of the first digits: no code begins with another */
    for (size_t i = 0; i < 3 && i < digits.n && digits.p[i] >= '0' && digits.p[i] <= '9'; i++)
        value[i + 1] = value[i] * 10 + (unsigned)(digits.p[i] - '0');
    if (value[1] == 0)
        return NULL;
    for (size_t i = 0; i < CODES; i++)
        if (codes[i].code == value[1] || codes[i].code == value[2] || codes[i].code == value[3])
            return &codes[i];
    return NULL;
}

bool
calling_code_begins(const struct calling_code *c, struct str digits)
{
    size_t n = calling_code_digits(c);
    unsigned value = 0;
    for (size_t i = 0; i < n && i < digits.n; i++)
        value = value * 10 + (unsigned)(digits.p[i] - '0');
    return digits.n > n && value == c->code;
}

const struct calling_code *
calling_code_find(struct str country)
{
    if (country.n == 2 && country.p[0] >= 'A' && country.p[1] >= 'A')
        return find_region(country.p);
    if (country.n > 1 && country.p[0] == '+')
        country = (struct str){country.p + 1, country.n - 1};
    const struct calling_code *c = calling_code_of(country);
    return c && calling_code_digits(c) == country.n ? c : NULL;
}

const struct calling_code *
calling_code_at(size_t i)
{
    return i < CODES ? &codes[i] : NULL;
}
