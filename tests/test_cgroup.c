/* test_cgroup.c - what control groups allow a process, for made-up trees of files */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backend/cgroup.h"
#include "backend/cpu_features.h"
#include "run_command.h"

#include <limits.h>

/* Makes an empty tree in which /proc/self/cgroup contains `groups`. */
static const char *tree(const char *groups)
{
    const char *root = scratch("root");
    quietly("rm -rf '%s' && mkdir -p '%s/proc/self' && printf '%s' > '%s/proc/self/cgroup'", root,
            root, groups, root);
    return root;
}

/* Writes a file below /sys/fs/cgroup. */
static void set(const char *root, const char *folder, const char *name, const char *text)
{
    quietly("mkdir -p '%s/sys/fs/cgroup%s' && printf '%%b\\n' '%s' > '%s/sys/fs/cgroup%s/%s'", root,
            folder, text, root, folder, name);
}

static void check(const char *root, unsigned processors, uint64_t bytes)
{
    const struct cgroup_limits limits = cgroup_read_limits(root);
    assert_int_equal(limits.processors, processors);
    assert_int_equal(limits.bytes, bytes);
}

static void test_no_limit(void **state)
{
    (void)state;
    check("/nonexistent", UINT_MAX, UINT64_MAX);
    const char *root = tree("0::/a\n");
    check(root, UINT_MAX, UINT64_MAX);
    set(root, "/a", "cpu.max", "max 100000");
    set(root, "/a", "memory.max", "max");
    set(root, "/a", "memory.current", "1000");
    check(root, UINT_MAX, UINT64_MAX);
    check(tree("nothing of the kind\n:\n0:\n"), UINT_MAX, UINT64_MAX);
}

static void test_version_2(void **state)
{
    (void)state;
    const char *root = tree("0::/a/b\n");
    set(root, "/a/b", "cpu.max", "300000 100000");
    set(root, "/a/b", "memory.max", "1000000");
    set(root, "/a/b", "memory.current", "400000");
    check(root, 3, 600000);
    set(root, "/a/b", "cpu.max", "150000 100000");
    check(root, 2, 600000);
    set(root, "/a/b", "cpu.max", "50000 100000");
    check(root, 1, 600000);
    set(root, "/a/b", "memory.stat", "anon 1\\ninactive_file 250000\\nactive_file 7");
    check(root, 1, 850000); /* page cache that is only read can be reclaimed */
    set(root, "/a/b", "memory.stat", "anon 1");
    set(root, "/a/b", "memory.current", "1000001");
    check(root, 1, 0);
}

/* The limit is the smallest of a group's and its ancestors', including the root's, which a
 * container may see as its own group whatever the path says. */
static void test_groups_above(void **state)
{
    (void)state;
    const char *root = tree("0::/a/b/c\n");
    set(root, "/a/b/c", "cpu.max", "800000 100000");
    set(root, "/a", "cpu.max", "400000 100000");
    set(root, "/a", "memory.max", "5000");
    set(root, "/a", "memory.current", "1000");
    check(root, 4, 4000);
    set(root, "", "cpu.max", "200000 100000");
    set(root, "", "memory.max", "3000");
    set(root, "", "memory.current", "1000");
    check(root, 2, 2000);
    root = tree("0::/\n");
    set(root, "", "cpu.max", "700000 100000");
    check(root, 7, UINT64_MAX);
}

static void test_version_1(void **state)
{
    (void)state;
    const char *root = tree("5:cpuset:/a\n4:memory:/m\n3:cpu,cpuacct:/a\n0::/\n");
    set(root, "/cpu/a", "cpu.cfs_quota_us", "-1");
    set(root, "/cpu/a", "cpu.cfs_period_us", "100000");
    set(root, "/memory", "memory.limit_in_bytes", "9223372036854771712");
    set(root, "/memory", "memory.usage_in_bytes", "5000");
    check(root, UINT_MAX, UINT64_C(9223372036854771712) - 5000);
    set(root, "/cpu/a", "cpu.cfs_quota_us", "250000");
    set(root, "/memory/m", "memory.limit_in_bytes", "8000");
    set(root, "/memory/m", "memory.usage_in_bytes", "6000");
    check(root, 3, 2000);
    set(root, "/memory/m", "memory.stat", "inactive_file 5\\ntotal_inactive_file 1500");
    check(root, 3, 3500);
}

/* This process is within its groups' limits, whatever they are. */
static void test_here(void **state)
{
    (void)state;
    const struct cgroup_limits limits = cgroup_read_limits("");
    assert_true(cpu_count() >= 1 && cpu_count() <= limits.processors);
    assert_true(cpu_available_bytes() > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_limit),     cmocka_unit_test(test_version_2),
        cmocka_unit_test(test_groups_above), cmocka_unit_test(test_version_1),
        cmocka_unit_test(test_here),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
