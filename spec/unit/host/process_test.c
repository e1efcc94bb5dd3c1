/* The pid file, and another user. What needs root is done in a child, and skipped without it. */
#include "host/process.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "np_test.h"

static long pid_in(const char *path)
{
    char text[32] = "";
    FILE *file = fopen(path, "r");
    if (!file) return -1;
    if (!fgets(text, sizeof text, file)) text[0] = '\0';
    fclose(file);
    return strtol(text, NULL, 10);
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

/* Runs `fn` in a child; its return value is what came. */
static int in_child(int (*fn)(const char *path), const char *path)
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) _exit(fn(path));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int is_refused(const char *path)
{
    struct np_pid_file *f;
    struct neap_errinfo info = {0};
    char want[32];
    snprintf(want, sizeof want, "process %ld", (long)getppid());
    if (np_pid_file_write(path, &f, &info) != NEAP_EBUSY) return 1;
    return strstr(info.message, want) ? 0 : 2;
}

static int writes_and_dies(const char *path)
{
    struct np_pid_file *f;
    return np_pid_file_write(path, &f, NULL) == NEAP_OK ? 0 : 1;
}

static void a_pid_file_is_one_process_s(void **state)
{
    struct np_pid_file *f;
    char path[256];
    char *dir = np_test_tmpdir();
    (void)state;
    snprintf(path, sizeof path, "%s/x.pid", dir);
    assert_ok(np_pid_file_write(path, &f, NULL));
    assert_int_equal(pid_in(path), getpid());
    assert_int_equal(in_child(is_refused, path), 0);
    assert_int_equal(pid_in(path), getpid());
    np_pid_file_remove(f);
    assert_false(exists(path));
    np_test_tmpdir_remove(dir);
}

static void a_pid_file_that_was_left_over_is_written_anew(void **state)
{
    struct np_pid_file *f;
    char path[256];
    char *dir = np_test_tmpdir();
    (void)state;
    snprintf(path, sizeof path, "%s/x.pid", dir);
    assert_int_equal(in_child(writes_and_dies, path), 0);
    assert_true(exists(path));
    assert_ok(np_pid_file_write(path, &f, NULL));
    assert_int_equal(pid_in(path), getpid());
    np_pid_file_remove(f);
    /* longer than a number: nothing of it stays */
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("what somebody else wrote into it\n", file);
    fclose(file);
    assert_ok(np_pid_file_write(path, &f, NULL));
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_in_range(st.st_size, 2, 12);
    np_pid_file_remove(f);
    np_test_tmpdir_remove(dir);
}

static void a_file_that_another_put_there_is_left_alone(void **state)
{
    struct np_pid_file *f;
    char path[256];
    char *dir = np_test_tmpdir();
    (void)state;
    snprintf(path, sizeof path, "%s/x.pid", dir);
    assert_ok(np_pid_file_write(path, &f, NULL));
    assert_int_equal(unlink(path), 0);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    np_pid_file_remove(f);
    assert_true(exists(path));
    np_test_tmpdir_remove(dir);
}

static struct np_pid_file *of_parent;

static int removes(const char *path)
{
    (void)path;
    np_pid_file_remove(of_parent);
    return 0;
}

static void a_child_does_not_remove_it(void **state)
{
    char path[256];
    char *dir = np_test_tmpdir();
    (void)state;
    snprintf(path, sizeof path, "%s/x.pid", dir);
    assert_ok(np_pid_file_write(path, &of_parent, NULL));
    assert_int_equal(in_child(removes, path), 0);
    assert_true(exists(path));
    np_pid_file_remove(of_parent);
    assert_false(exists(path));
    np_test_tmpdir_remove(dir);
}

static void says_what_is_wrong_with_a_path(void **state)
{
    struct np_pid_file *f;
    struct neap_errinfo info = {0};
    (void)state;
    assert_err(np_pid_file_write("/nonexistent/x.pid", &f, &info), NEAP_ENOENT);
    assert_non_null(strstr(info.message, "/nonexistent/x.pid"));
    assert_err(np_pid_file_write("/tmp/", &f, &info), NEAP_EINVAL);
    assert_err(np_change_dir("/nonexistent", &info), NEAP_ENOENT);
    assert_non_null(strstr(info.message, "/nonexistent"));
}

static void finds_users_by_name_and_number(void **state)
{
    struct np_identity id;
    struct neap_errinfo info = {0};
    (void)state;
    assert_ok(np_identity_find("root", NULL, &id, &info));
    assert_int_equal(id.uid, 0);
    assert_int_equal(id.gid, 0);
    assert_string_equal(id.name, "root");
    assert_ok(np_identity_find("0", NULL, &id, &info));
    assert_string_equal(id.name, "root");
    assert_ok(np_identity_find("54321", "54322", &id, &info));
    assert_int_equal(id.uid, 54321);
    assert_int_equal(id.gid, 54322);
    assert_ok(np_identity_find(NULL, "root", &id, &info));
    assert_int_equal(id.uid, getuid());
    assert_int_equal(id.gid, 0);
    assert_err(np_identity_find("no such one", NULL, &id, &info), NEAP_ENOTFOUND);
    assert_non_null(strstr(info.message, "no such one"));
    assert_err(np_identity_find("54321", NULL, &id, &info), NEAP_ENOTFOUND);
    assert_non_null(strstr(info.message, "no group"));
    assert_err(np_identity_find("root", "no such", &id, &info), NEAP_ENOTFOUND);
    assert_err(np_identity_find("4294967295", "0", &id, &info), NEAP_ENOTFOUND);
    assert_err(np_identity_find("-1", "0", &id, &info), NEAP_ENOTFOUND);
}

static int becomes(const char *unused)
{
    struct np_identity id;
    gid_t groups[64];
    (void)unused;
    if (np_identity_find("54321", "54322", &id, NULL) || np_become(&id, NULL)) return 1;
    if (getuid() != 54321 || geteuid() != 54321 || getgid() != 54322) return 2;
    if (getgroups(64, groups) != 0) return 3; /* none of root's is left */
    if (setuid(0) == 0 || seteuid(0) == 0 || setgid(0) == 0) return 4;
    if (np_become(&id, NULL)) return 5; /* it is already */
    struct np_identity root;
    if (np_identity_find("root", NULL, &root, NULL)) return 6;
    return np_become(&root, NULL) == NEAP_EACCES ? 0 : 7;
}

static void becomes_another_user_for_good(void **state)
{
    (void)state;
    if (geteuid() != 0) skip();
    assert_int_equal(in_child(becomes, ""), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pid_file_is_one_process_s),
        cmocka_unit_test(a_pid_file_that_was_left_over_is_written_anew),
        cmocka_unit_test(a_file_that_another_put_there_is_left_alone),
        cmocka_unit_test(a_child_does_not_remove_it),
        cmocka_unit_test(says_what_is_wrong_with_a_path),
        cmocka_unit_test(finds_users_by_name_and_number),
        cmocka_unit_test(becomes_another_user_for_good),
    };
    return cmocka_run_group_tests_name("host.process", tests, NULL, NULL);
}
