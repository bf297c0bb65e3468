/* Secrets: never shown, and read from where a connection says. */
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/reach.h"
#include "define-fake.h"
#include "define/complaint.h"
#include "tap.h"

/* Whatever is wrong with a connection, no value of it is shown. */
static void
test_secret_never_shown(void)
{
    static const char *const texts[] = {
        "{ \"driver\": \"db\", \"path\": \"/x\", \"password\": \"hunter2\" }",
        "{ \"driver\": \"db\", \"path\": \"/x\", \"passwrd\": \"hunter2\" }",
        "{ \"driver\": \"db\", \"path\": \"/x\", \"password\": hunter2 }",
        "{ \"driver\": \"db\", \"password\": \"hunter2",
        "{ \"driver\": \"db\", \"password\": \"hunter2\" : 1 }",
        "{ \"driver\": \"db\", \"password\":\n\"hunter2\": 1 }",
        "{ \"driver\": \"db\", \"password\": \"hunter2\n\" }",
        "{ \"driver\": \"db\", \"password\": \"x hunter2\" \"hunter2\" }",
        "{ \"driver\": \"db\", \"path\": \"/x\", \"password\": [\"hunter2\"] }",
        "{ \"driver\": \"db\", \"path\": \"/x\", \"password\": {\"env\": [\"hunter2\"]} }",
        "{ \"driver\": \"db\", \"path\": \"/x\", \"password\": {\"hunter2\": 1, \"x\": 2} }",
        "{ \"driver\": \"db\", \"path\": \"/x\", \"port\": \"hunter2\" }",
        "{ \"driver\": \"db\", \"path\": \"/x\", \"delimiter\": \"hunter2\" }",
        "{ \"driver\": \"tomorrow\", \"password\": \"hunter2\" }",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct complaint c;
        AUTO_BUF struct buf out = BUF_INIT(0);
        text_check(TEXT_CONNECTION, &fake_world, "connections/shop.json", str_of(texts[i]),
                   true, &c);
        complaint_render(&c, &out);
        bool key = strstr(texts[i], "\"hunter2\": 1") != NULL; /* a key is no value */
        if (!CHECK(out.n > 20 && (key || !strstr(out.p, "hunter2"))))
            printf("#   text %zu\n", i);
    }
    struct complaint c;
    AUTO_BUF struct buf out = BUF_INIT(0);
    text_check(TEXT_CONNECTION, &fake_world, "connections/shop.json", str_of(texts[0]), true,
               &c);
    complaint_render(&c, &out);
    CHECK_TEXT(buf_z(&out),
               "connections/shop.json:1:45: error: a password in plain text is refused: give "
               "{\"env\": \"NAME\"}, {\"file\": \"/PATH\"} or {\"command\": [\"PROGRAM\", "
               "\"ARGUMENT\"]}\n"
               "  { \"driver\": ***, \"path\": ***, \"password\": *** }\n"
               "                                            ^\n");
}

static atomic_bool cancelled;

static int
resolve(const char *secret, char *ret, size_t size, struct error *err)
{
    char text[512];
    snprintf(text, sizeof text, "{ \"driver\": \"db\", \"path\": \"/x\", \"password\": %s }",
             secret);
    struct connection *conn = NULL;
    struct complaint c;
    *err = (struct error)ERROR_INIT;
    int rc = connection_parse(NULL, "shop", str_of(text), &conn, &c);
    if (rc == 0)
        rc = connection_resolve(conn, &cancelled, err);
    if (rc == 0)
        snprintf(ret, size, "%s", ((struct fake_options *)conn->options)->password);
    connection_free(conn);
    return rc;
}

static void
test_secrets(void)
{
    struct error err;
    char got[256] = "";
    setenv("RETLFS_TEST_SECRET", "from env\n\n", 1);
    CHECK(resolve("{\"env\":\"RETLFS_TEST_SECRET\"}", got, sizeof got, &err) == 0);
    CHECK_TEXT(got, "from env\n");
    CHECK(resolve("{\"env\":\"RETLFS_NO_SUCH\"}", got, sizeof got, &err) < 0);
    CHECK_TEXT(err.text, "connection \"shop\": option \"password\": environment variable "
                         "\"RETLFS_NO_SUCH\" is not set");
    CHECK(resolve("{\"command\":[\"printf\",\"%s $HOME\\\\n\",\"it's\"]}", got, sizeof got,
                  &err) == 0);
    CHECK_TEXT(got, "it's $HOME");
    CHECK(resolve("{\"command\":[\"/bin/sh\",\"-c\",\"echo hush; exit 3\"]}", got, sizeof got,
                  &err) < 0);
    CHECK(strstr(err.text, "exit status 3") && !strstr(err.text, "hush"));
    CHECK(resolve("{\"command\":[\"/no/such\"]}", got, sizeof got, &err) < 0);
    /* the latter where posix_spawn is emulated, as by valgrind */
    CHECK(strstr(err.text, "No such file") || strstr(err.text, "exit status 127"));
    CHECK(resolve("{\"command\":[\"true\"]}", got, sizeof got, &err) < 0);
    CHECK(strstr(err.text, "empty"));
    CHECK(resolve("{\"command\":[\"head\",\"-c\",\"70000\",\"/dev/zero\"]}", got, sizeof got,
                  &err) < 0);
    CHECK(strstr(err.text, "more than 65536 bytes"));
    /* a grandchild that keeps the pipe open is not waited for */
    CHECK(resolve("{\"command\":[\"/bin/sh\",\"-c\",\"sleep 30 & echo ok\"]}", got, sizeof got,
                  &err) == 0);
    CHECK_TEXT(got, "ok");
    atomic_store(&cancelled, true);
    CHECK(resolve("{\"command\":[\"sleep\",\"3600\"]}", got, sizeof got, &err) == -ECANCELED);
    CHECK(err.kind == ERR_CANCELLED);
    atomic_store(&cancelled, false);
    CHECK(resolve("{\"file\":\"/dev/null\"}", got, sizeof got, &err) < 0);
    CHECK(strstr(err.text, "not a regular file"));

    char path[] = "/tmp/test-secret-XXXXXX", secret[64];
    AUTO_CLOSE int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, "in a file\n", 10) == 10);
    snprintf(secret, sizeof secret, "{\"file\":\"%s\"}", path);
    CHECK(resolve(secret, got, sizeof got, &err) == 0);
    CHECK_TEXT(got, "in a file");
    unlink(path);
}

/* On a shared mount only what was allowed is a secret to be had: a proxy's address, which is
 * left for calls, may hold a password. */
static void
test_shared(void)
{
    static const char *const allowed[] = {"RETLFS_TEST_SECRET"};
    struct error err = ERROR_INIT;
    char got[256] = "";
    setenv("https_proxy", "http://me:hunter2@proxy", 1);
    CHECK(resolve("{\"env\":\"https_proxy\"}", got, sizeof got, &err) == 0);
    reach_limit();
    CHECK(reach_allow_path("/", &err) == 0);
    CHECK(reach_forget_environment(allowed, 1, &err) == 0);
    CHECK(getenv("https_proxy") != NULL);
    CHECK(resolve("{\"env\":\"https_proxy\"}", got, sizeof got, &err) < 0);
    CHECK(strstr(err.text, "not allowed on this mount (-o allow_env=NAME)"));
    CHECK(resolve("{\"env\":\"RETLFS_TEST_SECRET\"}", got, sizeof got, &err) == 0);
    CHECK(resolve("{\"env\":\"RETLFS_TEST_SECRE\"}", got, sizeof got, &err) < 0);
}

int
main(void)
{
    test_secret_never_shown();
    test_secrets();
    test_shared();
    return tap_done();
}
