/* Kills the process, or fails, at the n-th call by which it changes something below a folder.
 *
 * It is loaded before libc, whose functions of these names it stands for. A write that is killed has written one half.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { COUNT, KILL, FAIL };

static char root[PATH_MAX];
static long seen, wanted;
static int mode;

void faults_arm(const char *folder, long number, int what) {
    snprintf(root, sizeof root, "%s/", folder);
    seen = 0;
    wanted = number;
    mode = what;
}

long faults_seen(void) { return seen; }

static int below(const char *path) { return root[0] && path && !strncmp(path, root, strlen(root)); }

static int open_below(int descriptor) {
    char name[64], path[PATH_MAX];
    snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(name, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    return below(path) || (root[0] && length == (ssize_t)strlen(root) - 1 && !strncmp(path, root, length));
}

/* Whether this is the call; from then on all of them, as on a disk that stays full. */
static int now(void) { return ++seen >= wanted && mode != COUNT; }

static int failed(void) {
    if (mode == KILL) {
        kill(getpid(), SIGKILL);
        pause();
    }
    errno = ENOSPC;
    return -1;
}

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))
#define PATH_CALL(name, parameters, path, arguments, ...)             \
    int name parameters {                                             \
        if (below(path) && now()) return failed();                    \
        return REAL(int, name, __VA_ARGS__) arguments;                \
    }
#define FILE_CALL(name, parameters, arguments, ...)                   \
    int name parameters {                                             \
        if (open_below(descriptor) && now()) return failed();         \
        return REAL(int, name, __VA_ARGS__) arguments;                \
    }

PATH_CALL(rename, (const char *a, const char *b), b, (a, b), const char *, const char *)
PATH_CALL(renameat, (int d, const char *a, int e, const char *b), b, (d, a, e, b), int, const char *, int, const char *)
PATH_CALL(renameat2, (int d, const char *a, int e, const char *b, unsigned f), b, (d, a, e, b, f), int, const char *, int,
          const char *, unsigned)
PATH_CALL(unlink, (const char *a), a, (a), const char *)
PATH_CALL(rmdir, (const char *a), a, (a), const char *)
PATH_CALL(mkdir, (const char *a, mode_t m), a, (a, m), const char *, mode_t)
PATH_CALL(chmod, (const char *a, mode_t m), a, (a, m), const char *, mode_t)
PATH_CALL(fchmodat, (int d, const char *a, mode_t m, int f), a, (d, a, m, f), int, const char *, mode_t, int)
FILE_CALL(fsync, (int descriptor), (descriptor), int)
FILE_CALL(ftruncate, (int descriptor, off_t n), (descriptor, n), int, off_t)
FILE_CALL(ftruncate64, (int descriptor, off64_t n), (descriptor, n), int, off64_t)
FILE_CALL(unlinkat, (int descriptor, const char *a, int f), (descriptor, a, f), int, const char *, int)

ssize_t write(int descriptor, const void *data, size_t size) {
    if (open_below(descriptor) && now()) {
        if (mode == KILL) REAL(ssize_t, write, int, const void *, size_t)(descriptor, data, size / 2);
        return failed();
    }
    return REAL(ssize_t, write, int, const void *, size_t)(descriptor, data, size);
}

ssize_t sendfile64(int descriptor, int in, off64_t *offset, size_t size) {
    if (open_below(descriptor) && now()) return failed();
    return REAL(ssize_t, sendfile64, int, int, off64_t *, size_t)(descriptor, in, offset, size);
}

#define OPEN(name)                                                                    \
    int name(const char *path, int flags, ...) {                                      \
        va_list rest;                                                                 \
        va_start(rest, flags);                                                        \
        mode_t permissions = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                                 \
        if (flags & (O_CREAT | O_TRUNC) && below(path) && now()) return failed();     \
        return REAL(int, name, const char *, int, ...)(path, flags, permissions);     \
    }
OPEN(open)
OPEN(open64)
