/*
 * libcurl by itself, for what it takes of the time that calls take: the same body again and
 * again over kept connections, and no more work than that.
 *
 *   http-curl URL CALLS CONNECTIONS FILE    fails unless each was answered with 200
 */
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
fail(const char *what)
{
    fprintf(stderr, "http-curl: %s\n", what);
    exit(EXIT_FAILURE);
}

static size_t
drop(char *p, size_t size, size_t n, void *arg)
{
    (void)p;
    (void)arg;
    return size * n;
}

static char *
read_file(const char *name, long *n)
{
    FILE *f = fopen(name, "r");
    if (!f || fseek(f, 0, SEEK_END) < 0 || (*n = ftell(f)) < 0)
        fail("the file cannot be read");
    rewind(f);
    char *text = malloc((size_t)*n + 1);
    if (!text || fread(text, 1, (size_t)*n, f) != (size_t)*n)
        fail("the file cannot be read");
    (void)fclose(f);
    return text;
}

static CURL *
prepare(const char *url, const char *body, long n, struct curl_slist *headers)
{
    CURL *easy = curl_easy_init();
    if (!easy || curl_easy_setopt(easy, CURLOPT_URL, url) != CURLE_OK ||
        curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers) != CURLE_OK ||
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body) != CURLE_OK ||
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, n) != CURLE_OK ||
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, drop) != CURLE_OK)
        fail("no memory");
    return easy;
}

/* Takes what has ended and begins as much anew; how many had ended. */
static long
turn_over(CURLM *multi, long *left)
{
    long ended = 0, status;
    int queued;
    for (CURLMsg *m; (m = curl_multi_info_read(multi, &queued)); ended++) {
        CURL *easy = m->easy_handle;
        if (m->data.result != CURLE_OK)
            fail(curl_easy_strerror(m->data.result));
        if (curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status) != CURLE_OK ||
            status != 200)
            fail("the answer was not 200");
        curl_multi_remove_handle(multi, easy);
        if (*left > 0 && curl_multi_add_handle(multi, easy) != CURLM_OK)
            fail("no memory");
        *left -= *left > 0;
    }
    return ended;
}

static long
number(const char *text)
{
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (errno || end == text || *end || n <= 0)
        fail("CALLS and CONNECTIONS must be numbers above 0");
    return n;
}

int
main(int argc, char **argv)
{
    if (argc != 5 || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        fail("usage: http-curl URL CALLS CONNECTIONS FILE");
    long calls = number(argv[2]), connections = number(argv[3]), n, ended = 0;
    char *body = read_file(argv[4], &n);
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:");
    headers = curl_slist_append(headers, "Content-Type: application/json");
    CURLM *multi = curl_multi_init();
    if (!multi || !headers)
        fail("no memory");
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, connections);
    long left = calls;
    for (long i = 0; i < connections && left > 0; i++, left--)
        if (curl_multi_add_handle(multi, prepare(argv[1], body, n, headers)) != CURLM_OK)
            fail("no memory");
    while (ended < calls) {
        int running;
        if (curl_multi_perform(multi, &running) != CURLM_OK)
            fail("curl_multi_perform failed");
        long some = turn_over(multi, &left);
        ended += some;
        if (some == 0 && curl_multi_poll(multi, NULL, 0, 1000, NULL) != CURLM_OK)
            fail("curl_multi_poll failed");
    }
    return EXIT_SUCCESS;
}
