/* Retry-After, in seconds or as a date: see answer.h. */
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "http/answer.h"

int64_t
answer_retry_after(struct str header, usec_t now)
{
    char text[64];
    if (header.n == 0 || header.n >= sizeof text)
        return 0;
    memcpy(text, header.p, header.n);
    text[header.n] = '\0';
    if (text[strspn(text, "0123456789")] == '\0' && header.n < 10)
        return (int64_t)strtoul(text, NULL, 10) * 1000000;
    time_t then = curl_getdate(text, NULL);
    return then > 0 && then > now / 1000000 ? (int64_t)then * 1000000 - now : 0;
}
