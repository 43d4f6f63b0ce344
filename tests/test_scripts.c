/* test_scripts.c - the shell scripts of the tree, each in a small folder made for the test */
#include "run_shell.h"

#include <stdbool.h>

/* ---- tests/layers ------------------------------------------------------------------------ */

static void test_layers(void **state)
{
    static const struct {
        const char *file, *line, *says;
    } bad[] = {
        {"lib/base/bad.c", "#include \"formats/b.h\"", "is of a higher level"},
        {"lib/formats/bad.h", "  #  include \"service/s.h\" // x", "is of a higher level"},
        {"lib/model/bad.c", "#include \"service/s.h\"", "is of a higher level"},
        {"lib/model/bad.c", "#include \"kernels/kernels.h\"", "one of the files that may"},
        {"lib/backend/bad.c", "#include \"kernels/cpu/k.h\"", "knows the kernels by the headers in kernels"},
        {"lib/base/bad.c", "#include \"tools/t.h\"", "knows nothing of tools"},
        {"lib/base/bad.c", "#include \"nowhere.h\"", "there is no such header"},
        {"lib/base/bad.c", "#include HEADER", "not the name of a header"},
        {"lib/strange/bad.c", "#include \"base/a.h\"", "of no known level"},
        {"lib/formats/bad.c", "#include <utf8proc.h>", "one of the files that may"},
        {"lib/formats/bad.c", "#include <jansson.h>", "one of the files that may"},
        {"lib/model/bad.c", "#include <pthread.h>", "one of the files that may"},
        {"lib/model/bad.c", "#include <immintrin.h>", "one of the files that may"},
        {"kernels/cpu/bad.c", "#include \"base/a.h\"", "know nothing of lib"},
        {"kernels/cpu/bad.c", "#include <embed.h>", "know nothing of the library"},
        {"tools/bad.c", "#include \"base/a.h\"", "tools knows embed.h only"},
        {"tools/bad.c", "#include \"../lib/base/a.h\"", "tools knows embed.h only"},
        {"bench/bad.c", "#include \"model/m.h\"", "bench knows embed.h only"},
        {"include/embed.h", "#include \"base/a.h\"", "the public header stands alone"},
    };
    char script[1024];
    (void)state;
    check("cd $D && mkdir -p include lib/base lib/formats lib/model lib/backend lib/service"
          " lib/strange kernels/cpu tools bench && touch include/embed.h kernels/cpu/k.h"
          " kernels/kernels.h tools/t.h &&"
          " echo '#include \"embed.h\"' >lib/base/a.h &&"
          " printf '#include \"base/a.h\"\\n#include <stdio.h>\\n' >lib/formats/b.h &&"
          " echo '#include \"formats/b.h\"' >lib/model/m.h &&"
          " echo '#include \"model/m.h\"' >lib/service/s.h &&"
          " echo '#include \"service/s.h\"' >lib/embed.c &&"
          " printf '#include <embed.h>\\n#include \"t.h\"\\n' >tools/t.c &&"
          " echo '#include \"kernels/kernels.h\"' >lib/backend/b.c &&"
          " sh $R/tests/layers $D 2>&1",
          0);
    check_says("layers: 9 includes, none violates the layering");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char place[64];
        snprintf(
            script, sizeof script,
            "cd $D && printf '/* */\\n\\n%s\\n' >%s; sh $R/tests/layers $D 2>&1; status=$?;"
            " : >%s; exit $status",
            bad[i].line, bad[i].file, bad[i].file);
        check(script, 1);
        snprintf(place, sizeof place, "%s:3: ", bad[i].file);
        check_says(place);
        check_says(bad[i].says);
    }
}

/* ---- tests/run --------------------------------------------------------------------------- */

/* Programs before `--` run together; those after it wait until these have ended. */
static void test_run_together_and_alone(void **state)
{
    (void)state;
    /* Each of the two ends only when it sees the other. */
    check("cd $D && for pair in 'one two' 'two one'; do set -- $pair; printf '#!/bin/sh\n"
          "cd $D; : >seen_%s; for i in $(seq 1000); do [ -e seen_%s ] || sleep 0.01; done\n"
          "[ -e seen_%s ] && echo \"[ RUN      ] a\n[       OK ] a\"\n' $1 $2 $2 >meets_$1; "
          "chmod +x meets_$1; done",
          0);
    check("cd $D && printf '#!/bin/sh\ncd $D; [ -e meets_one.result ] && [ -e meets_two.result ] "
          "&& echo \"[ RUN      ] a\n[       OK ] a\"\n' >last && chmod +x last",
          0);
    check("cd $D && JOBS=2 sh $R/tests/run $D/meets_one $D/meets_two -- $D/last 2>&1", 0);
    check_says("\n3 passed, 0 failed, 0 skipped\n");
}

/* Makes a program that prints what cmocka would and exits with `status`. */
static void make_program(const char *name, const char *says, int status)
{
    char script[1024];
    snprintf(
        script, sizeof script,
        "cd $D && printf '#!/bin/sh\\ncat <<END\\n%s\\nEND\\nexit %d\\n' >%s && chmod +x %s",
        says, status, name, name);
    check(script, 0);
}

static void test_run(void **state)
{
    (void)state;
    make_program("good",
                 "[ RUN      ] a\\n[       OK ] a\\n[ RUN      ] b\\nskipped: no b here\\n"
                 "[  SKIPPED ] b\\n[==========] 2 test(s) run.\\n[  SKIPPED ] b",
                 0);
    make_program("bad",
                 "[ RUN      ] a\\n[  ERROR   ] --- 1 != 2\\n[  FAILED  ] a\\n"
                 "[ RUN      ] b\\n[       OK ] b\\n[  FAILED  ] a",
                 1);
    make_program("crash", "[ RUN      ] a\\n[       OK ] a\\n[ RUN      ] b", 139);
    make_program("leak", "[ RUN      ] a\\n[       OK ] a\\na leak is reported", 23);
    make_program("empty", "nothing", 0);
    make_program("setup", "[  FAILED  ] GROUP SETUP\\n[  ERROR   ] tests", 1);

    check("sh $R/tests/run $D/good 2>&1 | tail -n 2", 0);
    check_says("      skipped b: no b here\n1 passed, 0 failed, 1 skipped\n");
    check("sh $R/tests/run $D/good >/dev/null 2>&1", 0);
    check("cp $D/good $D/fine && cp $D/bad $D/wrong", 0);
    check("sh $R/tests/run $D/good $D/bad $D/fine 2>&1", 1);
    check_says("      | [  ERROR   ] --- 1 != 2\n");
    check_says("\n3 passed, 1 failed, 2 skipped\n");
    check("JOBS=3 sh $R/tests/run $D/good $D/bad -- $D/fine $D/wrong 2>&1", 1);
    check_says("summary of failures:\nbad, exit status 1:\n");
    check_says("\nwrong, exit status 1:\n");
    check_says("\n4 passed, 2 failed, 2 skipped\n");
    check("sh $R/tests/run $D/crash 2>&1", 1);
    check_says("\n1 passed, 1 failed, 0 skipped\n");
    check("sh $R/tests/run $D/leak 2>&1", 1);
    check_says("a leak is reported");
    check_says("\n1 passed, 1 failed, 0 skipped\n");
    check("sh $R/tests/run $D/empty 2>&1", 1);
    check("sh $R/tests/run $D/setup 2>&1", 1);
    check_says("\n0 passed, 1 failed, 0 skipped\n");
    check("sh $R/tests/run $D/absent 2>&1", 1);
}

/* ---- tools/packages ---------------------------------------------------------------------- */

static void test_packages(void **state)
{
    (void)state;
    check("sh $R/tools/packages sh:dash string.h:libc6-dev 2>&1", 0);
    assert_string_equal(output, "");
    check("sh $R/tools/packages dash 2>&1", 2);
    check_says("usage: ");

    /* Without apt-get, prints the line to type. */
    check(
        "mkdir $D/bin && for c in sh id uname cat; do ln -s \"$(command -v $c)\" $D/bin; done;"
        " PATH=$D/bin sh $R/tools/packages sh:dash nothing:some-package no/such.h:other-dev "
        "2>&1",
        1);
    check_says("some-package other-dev missing, and there is no apt-get here");
    check_says("apt-get install --no-install-recommends some-package other-dev\n");
}

/* ---- weights/fetch ----------------------------------------------------------------------- */

#define FETCH "HF_ENDPOINT=file://$D/hub timeout 60 sh $D/weights/fetch "

/* Makes $D/weights with a manifest of two files, and a hub (in fact a folder) that has them. */
static void make_hub(void)
{
    check(
        "cd $D && mkdir -p weights tools hub/org/tiny/resolve/main/1_Pooling &&"
        " cp $R/weights/fetch weights/ && cp $R/tools/packages tools/ &&"
        " seq 100000 >hub/org/tiny/resolve/main/model.safetensors &&"
        " echo '{}' >hub/org/tiny/resolve/main/1_Pooling/config.json &&"
        " { echo '# models'; echo 'model tiny'; echo 'licence MIT'; echo 'hub org/tiny main';"
        "   cd hub/org/tiny/resolve/main; for f in 1_Pooling/config.json model.safetensors; do"
        "   echo \"file $(sha256sum <$f | cut -d ' ' -f 1) $(wc -c <$f) $f\"; done;"
        "   echo 'model other'; echo 'hub org/other main'; echo 'file 0 0 x';"
        " } >weights/manifest",
        0);
}

static void check_complete(void)
{
    check("cd $D && diff -r hub/org/tiny/resolve/main weights/tiny 2>&1", 1);
    assert_string_equal(output, "Only in weights/tiny: .complete\n");
    check("ls -A $D/weights/.partial", 0);
    assert_string_equal(output, "");
}

static void skip_without_curl(void)
{
    if (shell("command -v curl >/dev/null && command -v sha256sum >/dev/null") == 0) return;
    print_message("skipped: no curl or no sha256sum on this machine\n");
    skip();
}

static void test_fetch(void **state)
{
    (void)state;
    skip_without_curl();
    make_hub();
    check(FETCH "2>&1", 2);
    check_says("usage: ");
    check(FETCH "../x 2>&1", 2);
    check_says("it has: tiny, other");
    check(FETCH "tiny 2>&1", 0);
    check_says("weights/tiny is complete and verified (licence MIT)");
    check_complete();

    /* Correct files are kept, even if the hub is gone; others are replaced. */
    check("mv $D/hub $D/away && " FETCH "tiny 2>&1; s=$?; mv $D/away $D/hub; exit $s", 0);
    check("echo >>$D/weights/tiny/model.safetensors; rm "
          "$D/weights/tiny/1_Pooling/config.json; " FETCH "tiny 2>&1",
          0);
    check_complete();
}

static void test_fetch_continues(void **state)
{
    (void)state;
    skip_without_curl();
    make_hub();
    check("mkdir -p $D/weights/.partial/tiny && seq 30000 "
          ">$D/weights/.partial/tiny/model.safetensors;" FETCH "tiny 2>&1",
          0);
    check_complete();
    /* A partial download of another file, and one that is too long. */
    check("rm -r $D/weights/tiny; mkdir -p $D/weights/.partial/tiny &&"
          " seq 5 30000 >$D/weights/.partial/tiny/model.safetensors; " FETCH "tiny 2>&1",
          0);
    check_complete();
    check("rm -r $D/weights/tiny; mkdir -p $D/weights/.partial/tiny &&"
          " seq 200000 >$D/weights/.partial/tiny/model.safetensors; " FETCH "tiny 2>&1",
          0);
    check_complete();
}

static void test_fetch_refuses_wrong_files(void **state)
{
    (void)state;
    skip_without_curl();
    make_hub();
    check("seq 2 100001 >$D/hub/org/tiny/resolve/main/model.safetensors; " FETCH "tiny 2>&1",
          1);
    check_says("fetch: model.safetensors from file://");
    check_says(" is not the file of the manifest: expected sha256 ");
    check("test ! -e $D/weights/tiny && test ! -e $D/weights/.partial/tiny/model.safetensors",
          0);
    check("rm $D/hub/org/tiny/resolve/main/model.safetensors; " FETCH "tiny 2>&1", 1);
    check_says("not to be had there: ");
    check_says("fetch: tiny is not complete, and no source could be reached");
    check("test ! -e $D/weights/tiny && test ! -e $D/weights/.partial/tiny.lock", 0);
}

static void test_fetch_runs_once(void **state)
{
    (void)state;
    skip_without_curl();
    make_hub();
    check("for i in 1 2 3 4; do " FETCH "tiny >$D/out.$i 2>&1 & pids=\"$pids $!\"; done;"
          " for p in $pids; do wait $p || exit 1; done",
          0);
    check_complete();
    /* The lock of a process that no longer exists. */
    check("rm -r $D/weights/tiny; sh -c 'echo $$' >$D/pid;"
          " ln -s \"$(cat $D/pid)@$(uname -n)\" $D/weights/.partial/tiny.lock; " FETCH
          "tiny 2>&1",
          0);
    check_complete();
    /* A lock of a running process is waited for. */
    check("rm -r $D/weights/tiny; sleep 2 & ln -s \"$!@$(uname -n)\" "
          "$D/weights/.partial/tiny.lock;"
          " " FETCH "tiny 2>&1",
          0);
    check_says("waiting for process ");
    check_complete();
}

/* ---- tests/spills ------------------------------------------------------------------------ */

#define REPORT                                                                                     \
    "printf '%%s\\n' \"ptxas info    : Compiling entry function '_Z1k' for 'sm_80'\" "              \
    "\"ptxas info    : Function properties for _Z1k\" "                                            \
    "\"    %d bytes stack frame, %d bytes spill stores, 0 bytes spill loads\" "                    \
    "\"ptxas info    : Used 255 registers, used 1 barriers\" >\"$D/k.report\" && "                \
    "sh \"$R/tests/spills\" \"$D/k.report\" 2>&1"

static void test_spills(void **state)
{
    (void)state;
    char script[1024];
    snprintf(script, sizeof script, REPORT, 0, 0);
    check(script, 0);
    check_says("1 kernels, at most 255 registers");
    check_says("spills: none in 1 kernels");
    snprintf(script, sizeof script, REPORT, 0, 8);
    check(script, 1);
    check_says("spills: sm_80 _Z1k");
    snprintf(script, sizeof script, REPORT, 16, 0);
    check(script, 1);
    check(": >\"$D/empty\" && sh \"$R/tests/spills\" \"$D/empty\" 2>&1", 1);
    check_says("no kernel in any report");
}

/* ---- bench/figures ----------------------------------------------------------------------- */

#define FIGURES "cd \"$D/tree\" && PYTHONDONTWRITEBYTECODE=1 python3 bench/figures "
#define POOL    "bench/results/epyc-zen4-2core-minilm-pool.csv"

/* The tables in the documents agree with the CSVs; a changed number is reported, and rewritten. */
static void test_figures(void **state)
{
    (void)state;
    if (shell("command -v python3 >/dev/null") != 0) {
        print_message("skipped: no python3 on this machine\n");
        skip();
    }
    check("mkdir \"$D/tree\" && cp -r \"$R/bench\" \"$R/README.md\" \"$D/tree\"", 0);
    check(FIGURES "--check 2>&1", 0);
    assert_string_equal(output, "");
    check("cd \"$D/tree\" && sed -i 's/^pool,8,4,[0-9.]*/pool,8,4,123.4/' " POOL, 0);
    check(FIGURES "--check 2>&1", 1);
    check_says("figures: README.md is not as bench/results says");
    check(FIGURES "2>&1 && grep -F 'requests of 4 texts | 123 |' README.md && bench/figures", 0);
    check(FIGURES "--check 2>&1 && diff -r \"$R/bench\" bench", 1);
    check_says("pool,8,4,123.4");
    check("rm \"$D/tree/" POOL "\"", 0);
    check(FIGURES "2>&1", 1);
    check_says("figures: there is no " POOL);
    check("cd \"$D/tree\" && sed -i '0,/<!-- end of figures -->/s///' README.md", 0);
    check(FIGURES "2>&1", 1);
    check_says("figures: README.md: a table's first or last line is missing");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_layers),          TEST(test_spills),        TEST(test_run),
        TEST(test_run_together_and_alone),
        TEST(test_packages),        TEST(test_fetch),
        TEST(test_fetch_continues), TEST(test_fetch_refuses_wrong_files),
        TEST(test_fetch_runs_once), TEST(test_figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
