/* Hexadecimal digits. */
#pragma once

/* What a digit of either case is worth; -1: it is none. */
static inline int
hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}
