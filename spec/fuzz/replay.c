/* Replays a corpus: gives every file named, or standing in a directory named, to the fuzzer that
 * this is linked with. Stands in for libFuzzer where the compiler has none. A corpus that is not
 * there yet is empty. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path, long size)
{
    FILE *in = fopen(path, "rb");
    /* Of the very size, so that reading past the end is seen. */
    uint8_t *data = malloc(size > 0 ? (size_t)size : 1);
    if (!in || !data || fread(data, 1, (size_t)size, in) != (size_t)size) {
        perror(path);
        if (in) fclose(in);
        free(data);
        return 1;
    }
    fclose(in);
    LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
    return 0;
}

static int replay(const char *path, unsigned *count)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        if (errno == ENOENT) return 0;
        perror(path);
        return 1;
    }
    if (!S_ISDIR(st.st_mode)) {
        ++*count;
        return replay_file(path, (long)st.st_size);
    }
    DIR *dir = opendir(path);
    if (!dir) return 1;
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(dir));) {
        char child[4096];
        if (e->d_name[0] == '.') continue;
        snprintf(child, sizeof child, "%s/%s", path, e->d_name);
        rc = replay(child, count);
    }
    closedir(dir);
    return rc;
}

int main(int argc, char **argv)
{
    unsigned count = 0;
    for (int i = 1; i < argc; i++) {
        if (replay(argv[i], &count) != 0) return 1;
    }
    printf("%u inputs replayed\n", count);
    return 0;
}
