/* systemd's protocols, against a socket of the test's own. */
#include "host/notify.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "np_test.h"

struct fix {
    char *dir;
    char path[200];
    int fd;
    struct np_notify n;
    char got[1024];
};

static int bound(const char *path, bool abstract)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    assert_true(len < sizeof addr.sun_path);
    memcpy(addr.sun_path, path, len);
    if (abstract) addr.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + !abstract);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, size), 0);
    return fd;
}

static void set_up(struct fix *f)
{
    f->dir = np_test_tmpdir();
    snprintf(f->path, sizeof f->path, "%s/notify", f->dir);
    f->fd = bound(f->path, false);
    setenv("NOTIFY_SOCKET", f->path, 1);
    assert_ok(np_notify_init(&f->n, NULL));
}

static void tear_down(struct fix *f)
{
    np_notify_fini(&f->n);
    close(f->fd);
    np_test_tmpdir_remove(f->dir);
}

static const char *next(struct fix *f)
{
    ssize_t n = recv(f->fd, f->got, sizeof f->got - 1, 0);
    f->got[n > 0 ? n : 0] = '\0';
    return f->got;
}

static void tells_what_happens(void **state)
{
    struct fix f;
    char want[64];
    (void)state;
    set_up(&f);
    assert_true(np_notify_wanted(&f.n));
    assert_null(getenv("NOTIFY_SOCKET"));
    snprintf(want, sizeof want, "READY=1\nMAINPID=%ld\nSTATUS=serving", (long)getpid());
    np_notify_ready(&f.n, "serving\nERRNO=5");
    assert_string_equal(next(&f), want);
    np_notify_ready(&f.n, NULL);
    assert_memory_equal(next(&f), "READY=1\n", 8);
    np_notify_reloading(&f.n);
    assert_memory_equal(next(&f), "RELOADING=1\nMONOTONIC_USEC=", 27);
    assert_true(strtoll(f.got + 27, NULL, 10) > 0);
    np_notify_stopping(&f.n);
    assert_memory_equal(next(&f), "STOPPING=1\n", 11);
    np_notify_status(&f.n, "3 workers");
    assert_string_equal(next(&f), "STATUS=3 workers");
    np_notify_watchdog(&f.n);
    assert_string_equal(next(&f), "WATCHDOG=1\n");
    assert_ok(np_notify_send(&f.n, "FDSTORE=1"));
    assert_string_equal(next(&f), "FDSTORE=1");
    tear_down(&f);
}

static void knows_abstract_sockets(void **state)
{
    struct fix f = {0};
    (void)state;
    snprintf(f.path, sizeof f.path, "@neap-notify-test-%ld", (long)getpid());
    f.fd = bound(f.path, true);
    setenv("NOTIFY_SOCKET", f.path, 1);
    assert_ok(np_notify_init(&f.n, NULL));
    np_notify_watchdog(&f.n);
    assert_string_equal(next(&f), "WATCHDOG=1\n");
    np_notify_fini(&f.n);
    close(f.fd);
}

static void is_silent_when_nobody_listens(void **state)
{
    struct np_notify n;
    struct neap_errinfo info = {0};
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    assert_ok(np_notify_init(&n, &info));
    assert_false(np_notify_wanted(&n));
    assert_ok(np_notify_send(&n, "READY=1"));
    np_notify_ready(&n, "x");
    np_notify_fini(&n);
    setenv("NOTIFY_SOCKET", "relative", 1);
    assert_err(np_notify_init(&n, &info), NEAP_EINVAL);
    assert_non_null(strstr(info.message, "relative"));
    assert_ok(np_notify_send(&n, "READY=1"));
    setenv("NOTIFY_SOCKET", "/nonexistent/notify", 1);
    assert_ok(np_notify_init(&n, &info));
    assert_err(np_notify_send(&n, "READY=1"), NEAP_ENOENT);
    np_notify_ready(&n, "goes on");
    np_notify_fini(&n);
}

static int64_t watchdog(const char *usec, const char *pid)
{
    struct np_notify n;
    unsetenv("WATCHDOG_PID");
    if (usec) setenv("WATCHDOG_USEC", usec, 1);
    if (pid) setenv("WATCHDOG_PID", pid, 1);
    assert_ok(np_notify_init(&n, NULL));
    assert_null(getenv("WATCHDOG_USEC"));
    assert_null(getenv("WATCHDOG_PID"));
    np_notify_fini(&n);
    return n.watchdog;
}

static void knows_how_often_to_say_that_it_lives(void **state)
{
    char us[32];
    (void)state;
    snprintf(us, sizeof us, "%ld", (long)getpid());
    assert_int_equal(watchdog("30000000", us), 15 * NP_NS_PER_SEC);
    assert_int_equal(watchdog("30000000", NULL), 15 * NP_NS_PER_SEC);
    assert_int_equal(watchdog("30000000", "1"), 0);
    assert_int_equal(watchdog("0", us), 0);
    assert_int_equal(watchdog("soon", us), 0);
    assert_int_equal(watchdog("-1", us), 0);
    assert_int_equal(watchdog("99999999999999999999", us), 0);
    assert_int_equal(watchdog(NULL, us), 0);
}

/* --- sockets that were opened for us: descriptors 3 and 4, so in a child */

static void say_fds(const char *count, const char *names)
{
    char us[32];
    snprintf(us, sizeof us, "%ld", (long)getpid());
    setenv("LISTEN_FDS", count, 1);
    setenv("LISTEN_PID", us, 1);
    unsetenv("LISTEN_FDNAMES");
    if (names) setenv("LISTEN_FDNAMES", names, 1);
}

static int takes_two(void)
{
    struct np_passed_fd *fds;
    size_t n;
    int null = open("/dev/null", O_RDONLY);
    if (null < 0 || dup2(null, 3) != 3 || dup2(null, 4) != 4) return 1;
    say_fds("2", "web:");
    if (np_passed_fds(&fds, &n, NULL) || n != 2) return 2;
    if (fds[0].fd != 3 || fds[1].fd != 4) return 3;
    if (strcmp(fds[0].name, "web") != 0 || strcmp(fds[1].name, "unknown") != 0) return 4;
    if (!(fcntl(3, F_GETFD) & FD_CLOEXEC) || !(fcntl(4, F_GETFD) & FD_CLOEXEC)) return 5;
    if (getenv("LISTEN_FDS") || getenv("LISTEN_PID") || getenv("LISTEN_FDNAMES")) return 6;
    np_free(fds);
    say_fds("1", NULL);
    if (np_passed_fds(&fds, &n, NULL) || n != 1 || strcmp(fds[0].name, "unknown") != 0) return 7;
    np_free(fds);
    return 0;
}

static int refuses_what_is_not_so(void)
{
    struct np_passed_fd *fds;
    struct neap_errinfo info = {0};
    size_t n;
    close(3);
    say_fds("1", NULL);
    if (np_passed_fds(&fds, &n, &info) != NEAP_EINVAL || fds || n) return 1;
    if (!strstr(info.message, "descriptor 3") || getenv("LISTEN_FDS")) return 2;
    say_fds("many", NULL);
    if (np_passed_fds(&fds, &n, &info) != NEAP_EINVAL) return 3;
    say_fds("1000000", NULL);
    if (np_passed_fds(&fds, &n, &info) != NEAP_EINVAL) return 4;
    say_fds("1", NULL);
    setenv("LISTEN_PID", "1", 1); /* another's */
    if (np_passed_fds(&fds, &n, &info) || n || fds) return 5;
    return np_passed_fds(&fds, &n, &info) || n ? 6 : 0; /* none */
}

static void in_child(int (*fn)(void))
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) _exit(fn());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void takes_sockets_that_were_opened_for_it(void **state)
{
    (void)state;
    in_child(takes_two);
    in_child(refuses_what_is_not_so);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_what_happens),
        cmocka_unit_test(knows_abstract_sockets),
        cmocka_unit_test(is_silent_when_nobody_listens),
        cmocka_unit_test(knows_how_often_to_say_that_it_lives),
        cmocka_unit_test(takes_sockets_that_were_opened_for_it),
    };
    return cmocka_run_group_tests_name("host.notify", tests, NULL, NULL);
}
