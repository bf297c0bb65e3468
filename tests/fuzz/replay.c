/* A fuzz target without libFuzzer: the files of the directories named are its inputs. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fileio.h"
#include "fuzz.h"

/* In memory of just that size, so that a byte read behind it is noticed. */
static void
play(const char *path)
{
    AUTO_BUF struct buf file = BUF_INIT(BUF_NO_MAX);
    struct error err = ERROR_INIT;
    if (file_read_whole(AT_FDCWD, path, &file, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    AUTO_FREE uint8_t *exact = malloc(file.n ? file.n : 1);
    MUST(exact);
    memcpy(exact, buf_z(&file), file.n);
    LLVMFuzzerTestOneInput(exact, file.n);
}

int
main(int argc, char **argv)
{
    unsigned n = 0;
    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        if (!dir) {
            perror(argv[i]);
            return 1;
        }
        for (struct dirent *e; (e = readdir(dir));) {
            char path[4096];
            if (e->d_name[0] == '.')
                continue;
            snprintf(path, sizeof path, "%s/%s", argv[i], e->d_name);
            fprintf(stderr, "%s\n", path); /* the last one is the guilty one */
            play(path);
            n++;
        }
        closedir(dir);
    }
    printf("%u inputs\n", n);
    return n ? 0 : 1;
}
