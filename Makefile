# libembed - see README.md. `make` alone prints this list.
#
## make demo           build embed, fetch all-MiniLM-L6-v2, embed a small text, print its most
##                     similar pairs
## make check          build and run all tests (fetches all-MiniLM-L6-v2 for those that use it)
## make check-full     as check, plus the tests that fetch all-mpnet-base-v2 (439 MB)
## make all            build/embed, build/embed-bench, build/libembed.so, build/libembed.a, and
##                     build/libembed-cuda.so if nvcc is found
## make install        install embed, embed-bench, libembed, embed.h and manual pages below PREFIX
##                     (/usr/local)
## make uninstall      remove what `make install` with the same variables installed
## make bench-quick    measure MiniLM on this machine in four minutes: table, plot and batch
##                     profile
## make info           print what was found on this machine
## make layers         check the layering of includes
## make gpu-bundle     pack the check on a real GPU (tests/gpu/run) for another machine
## make spills         build the CUDA kernels and check that none spills registers to memory
## make figures        update tables in README.md and bench/README.md, and plots, from
##                     bench/results/*.csv
## make gpu-table      predict the time of every CUDA kernel launch: bench/results/gpu-table.csv
## make asan           run the tests under AddressSanitizer and UndefinedBehaviorSanitizer
## make tsan           run the threaded tests under ThreadSanitizer
## make memcheck       run the tests under valgrind
## make fuzz           fuzz every reader of files and texts, SECONDS=60 each; TARGET=json: only
##                     that one
## make malformed      run the readers on some 67,600 malformed model files, under sanitizers
## make fuzz-coverage  show which lines of the readers the fuzz corpora reach
## make fmt            format all C files with clang-format
## make clean          remove build/ (fetched models stay in weights/)
#
# Variables: CC, CFLAGS, BUILD (build); V=1 shows the commands, WERROR=1 makes warnings errors.
# CUDA_ARCHS lists the GPUs to build for, such as 75 90 (building all takes a minute).
# For install: PREFIX, BINDIR, LIBDIR, INCLUDEDIR, MANDIR, and DESTDIR, which is prepended to them.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

BUILD    ?= build
CFLAGS   ?= -O2 -g
OBJCOPY  ?= objcopy
MODEL    := all-MiniLM-L6-v2
MPNET    := all-mpnet-base-v2
Q        := $(if $(V),,@)
SHELL    := /bin/sh

# The version is written only in embed.h.
version_part = $(shell sed -n 's/^.define EMBED_VERSION_$(1) //p' include/embed.h)
MAJOR    := $(call version_part,MAJOR)
VERSION  := $(MAJOR).$(call version_part,MINOR).$(call version_part,PATCH)

PREFIX     = /usr/local
BINDIR     = $(PREFIX)/bin
LIBDIR     = $(PREFIX)/lib
INCLUDEDIR = $(PREFIX)/include
MANDIR     = $(PREFIX)/share/man

# ---- the machine ---------------------------------------------------------------------------
MACHINE  := $(shell uname -m)
ISAS     := $(if $(filter x86_64,$(MACHINE)),scalar avx2 avx512 avx512_bf16 avx512_vnni,scalar)

FLAGS_scalar :=
FLAGS_avx2   := -mavx2 -mfma
FLAGS_avx512 := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mprefer-vector-width=512
FLAGS_avx512_bf16 := $(FLAGS_avx512) -mavx512bf16
FLAGS_avx512_vnni := $(FLAGS_avx512_bf16) -mavx512vnni

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
            -Wvla $(if $(WERROR)$(CI),-Werror)
BASE     := -std=c11 -D_GNU_SOURCE -pthread -fPIC -fvisibility=hidden $(WARNINGS) \
            -Iinclude -Ilib -I. -MMD -MP
LIBS     := -lutf8proc -lm -ldl

# ---- files ---------------------------------------------------------------------------------
LIB_SOURCES       := $(filter-out lib/cuda/%,$(wildcard lib/*.c lib/*/*.c))
REFERENCE_SOURCES := $(wildcard kernels/reference/*.c)
CPU_SOURCES       := $(wildcard kernels/cpu/*.c)
FULL_TEST_SOURCES := tests/test_real_mpnet.c tests/test_real_mpnet_cuda.c
ONE_ARCH_TESTS    := test_cuda_linear_fused test_cuda_faults test_cuda_lost test_cuda_memory \
                     test_cuda_steady test_cuda_cache test_cuda_pool test_cuda_pool_load \
                     test_cuda_pool_generate test_cuda_summaries # run alike on both
CUDA_TEST_SOURCES := $(filter-out $(ONE_ARCH_TESTS:%=tests/%.c),$(wildcard tests/test_cuda_*.c))
TEST_SOURCES      := $(filter-out $(FULL_TEST_SOURCES) tests/test_cuda_%,$(wildcard tests/test_*.c))
EMBED_SOURCES     := $(wildcard tools/embed*.c)

LIB_OBJECTS       := $(LIB_SOURCES:%.c=$(BUILD)/%.o)
# NAME_bf16.c replaces NAME.c if elements are BF16, and NAME_int8.c replaces either if products are
# in INT8.
BF16_SOURCES      := $(filter %_bf16.c,$(CPU_SOURCES))
INT8_SOURCES      := $(filter %_int8.c,$(CPU_SOURCES))
CPU_SOURCES_scalar      := $(filter-out $(BF16_SOURCES) $(INT8_SOURCES),$(CPU_SOURCES))
CPU_SOURCES_avx2        := $(CPU_SOURCES_scalar)
CPU_SOURCES_avx512      := $(CPU_SOURCES_scalar)
CPU_SOURCES_avx512_bf16 := $(filter-out $(BF16_SOURCES:_bf16.c=.c),$(CPU_SOURCES_scalar)) $(BF16_SOURCES)
CPU_SOURCES_avx512_vnni := $(filter-out $(INT8_SOURCES:_int8.c=_bf16.c),$(CPU_SOURCES_avx512_bf16)) $(INT8_SOURCES)
CPU_OBJECTS       := $(foreach isa,$(ISAS),$(patsubst kernels/cpu/%.c,$(BUILD)/kernels/cpu/$(isa)/%.o,$(CPU_SOURCES_$(isa))))
REFERENCE_OBJECTS := $(REFERENCE_SOURCES:%.c=$(BUILD)/%.o)
EMBED_OBJECTS     := $(EMBED_SOURCES:%.c=$(BUILD)/%.o) $(BUILD)/tools/golden_files.o
BENCH_OBJECTS     := $(patsubst %.c,$(BUILD)/%.o,$(wildcard bench/embed_bench*.c))
TESTS             := $(TEST_SOURCES:tests/%.c=$(BUILD)/tests/%) \
                     $(foreach arch,75 80,$(CUDA_TEST_SOURCES:tests/%.c=$(BUILD)/tests/%_sm_$(arch))) \
                     $(ONE_ARCH_TESTS:%=$(BUILD)/tests/%_sm_80)
FULL_TESTS        := $(BUILD)/tests/test_real_mpnet $(BUILD)/tests/test_real_mpnet_cuda_sm_80
EXAMPLES          := $(patsubst tools/%.c,$(BUILD)/%,$(wildcard tools/examples/*.c))
PROGRAMS          := $(BUILD)/embed $(BUILD)/embed-bench $(BUILD)/example $(BUILD)/demo $(EXAMPLES)

help:
	@sed -n 's/^## //p' Makefile

# ---- what the build needs ------------------------------------------------------------------
# Each stamp is made once. tools/packages installs missing packages, or prints the command to run.
BUILD_PACKAGES := cc:gcc stdio.h:libc6-dev utf8proc.h:libutf8proc-dev jansson.h:libjansson-dev
CHECK_PACKAGES := cmocka.h:libcmocka-dev g++:g++ pkg-config:pkg-config mandoc:mandoc
BENCH_PACKAGES := gnuplot:gnuplot-nox

$(BUILD)/.packages: tools/packages Makefile
	@mkdir -p $(BUILD)
	@sh tools/packages $(BUILD_PACKAGES)
	@touch $@

$(BUILD)/.packages-check: tools/packages Makefile $(BUILD)/.packages
	@sh tools/packages $(CHECK_PACKAGES)
	@touch $@

$(BUILD)/.packages-bench: tools/packages Makefile $(BUILD)/.packages
	@sh tools/packages $(BENCH_PACKAGES)
	@touch $@

# ---- build ---------------------------------------------------------------------------------
all: $(PROGRAMS) $(BUILD)/libembed.so $(BUILD)/libembed.a

define compile
	@mkdir -p $(@D)
	@echo "  cc  $<"
	$(Q)$(CC) $(BASE) $(CPPFLAGS) $(CFLAGS) $(1) -c -o $@ $<
endef

$(BUILD)/lib/%.o: lib/%.c | $(BUILD)/.packages
	$(call compile)
$(BUILD)/tools/%.o: tools/%.c | $(BUILD)/.packages
	$(call compile)
$(BUILD)/bench/%.o: bench/%.c | $(BUILD)/.packages
	$(call compile)
$(BUILD)/kernels/reference/%.o: kernels/reference/%.c | $(BUILD)/.packages
	$(call compile)

# Each CPU kernel is compiled once for every instruction set; no other files get its flags.
# -O3 unrolls the tile loops; the micro-kernels rely on contraction to FMA.
# No -ffast-math: results that are not finite must be detected.
define cpu_rule
$(BUILD)/kernels/cpu/$(1)/%.o: kernels/cpu/%.c | $(BUILD)/.packages
	$$(call compile,-O3 -ffp-contract=fast -DISA=$(1) -DISA_$(1) $(FLAGS_$(1)))
endef
$(foreach isa,$(ISAS),$(eval $(call cpu_rule,$(isa))))

# The file name of the library contains the full version. The linker looks for libembed.so, the
# loader for the soname.
$(BUILD)/libembed.so.$(VERSION): $(LIB_OBJECTS) $(CPU_OBJECTS) lib/libembed.map
	@echo "  ld  $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -shared -pthread -Wl,-soname,libembed.so.$(MAJOR) \
	    -Wl,--version-script=lib/libembed.map -Wl,-z,relro,-z,now,--no-undefined \
	    -o $@ $(filter %.o,$^) $(LIBS)

$(BUILD)/libembed.so: $(BUILD)/libembed.so.$(VERSION)
	$(Q)ln -sf libembed.so.$(VERSION) $(BUILD)/libembed.so.$(MAJOR)
	$(Q)ln -sf libembed.so.$(MAJOR) $@

# A single object whose internal names are local, so that none can clash with the program's.
$(BUILD)/libembed.a: $(LIB_OBJECTS) $(CPU_OBJECTS)
	@echo "  ar  $@"
	$(Q)$(LD) -r -o $(BUILD)/libembed.o $^
	$(Q)$(OBJCOPY) --localize-hidden $(BUILD)/libembed.o
	$(Q)rm -f $@; $(AR) rcs $@ $(BUILD)/libembed.o

# The library for the tests: separate objects with all internal names.
$(BUILD)/internal.a: $(LIB_OBJECTS) $(CPU_OBJECTS)
	@echo "  ar  $@"
	$(Q)rm -f $@; $(AR) rcs $@ $^

# The programs are linked with the shared library and find it in their own folder.
link_program = $(CC) $(CFLAGS) $(LDFLAGS) -pthread -o $@ $(filter %.o,$^) -L$(BUILD) -lembed \
               -Wl,-rpath,'$$ORIGIN'

$(BUILD)/embed: $(EMBED_OBJECTS) $(BUILD)/libembed.so
	@echo "  ld  $@"
	$(Q)$(link_program) -ljansson -lm
# The references of `embed verify` as C strings, one per line.
GOLDEN := $(wildcard tools/golden/*.json)
$(BUILD)/tools/golden_files.c: $(GOLDEN) Makefile
	@mkdir -p $(@D)
	$(Q){ echo '#include "tools/embed_golden.h"'; \
	    echo 'const struct golden_file golden_files[] = {'; \
	    for file in $(GOLDEN); do \
	        echo "    {\"$$(basename $$file .json)\","; \
	        sed 's/[\\"]/\\&/g; s/.*/     "&\\n"/' $$file; \
	        echo '    },'; \
	    done; \
	    echo '    {NULL, NULL}};'; } >$@
$(BUILD)/tools/golden_files.o: $(BUILD)/tools/golden_files.c | $(BUILD)/.packages
	$(call compile)
# Linked with the kernels and the naive ones. Its roof is a loop of fused multiply-adds.
BENCH_PARTS := $(BENCH_OBJECTS) $(REFERENCE_OBJECTS) $(CPU_OBJECTS)
$(BUILD)/embed-bench: $(BENCH_PARTS) $(BUILD)/libembed.so
	@echo "  ld  $@"
	$(Q)$(link_program) -lm
$(BUILD)/bench/embed_bench_roof.o: CFLAGS += -O3 -ffp-contract=fast
# Every figure names the commit. When it changes, this file and the object that names it are remade.
$(BUILD)/commit: FORCE
	@mkdir -p $(@D)
	@{ cat COMMIT || git describe --always --dirty || echo unknown; } 2>/dev/null >$@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
$(BUILD)/bench/embed_bench_machine.o: $(BUILD)/commit
$(BUILD)/bench/embed_bench_machine.o: BASE += -DCOMMIT='"$(shell cat $(BUILD)/commit)"'
$(BUILD)/%: $(BUILD)/tools/%.o $(BUILD)/libembed.so
	@echo "  ld  $@"
	$(Q)$(link_program) -lm
$(BUILD)/examples/%: $(BUILD)/tools/examples/%.o $(BUILD)/libembed.so
	@mkdir -p $(@D)
	@echo "  ld  $@"
	$(Q)$(link_program) -Wl,-rpath,'$$ORIGIN/..'

# ---- CUDA ----------------------------------------------------------------------------------
# libembed-cuda.so is built if nvcc is found. Nothing else needs the CUDA toolkit.
NVCC       := $(shell command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
CUDA       := $(if $(NVCC),$(patsubst %/bin/nvcc,%,$(realpath $(NVCC))))
CUDA_ARCHS ?= 75 80 86 89 90 100 120
# Machine code for each, and PTX for all other GPUs from 8.0 on: kernels have no code for later ones
# only. device.c wants to know what there is.
CUDA_PTX   := $(or $(filter 80,$(CUDA_ARCHS)),$(lastword $(CUDA_ARCHS)))
GENCODE    := $(foreach arch,$(CUDA_ARCHS),-gencode arch=compute_$(arch),code=sm_$(arch)) \
              -gencode arch=compute_$(CUDA_PTX),code=compute_$(CUDA_PTX)
HAS_CODE   := -DCUDA_ARCHS='"$(CUDA_ARCHS)"' -DCUDA_PTX=$(CUDA_PTX)
NVCCFLAGS  := -O3 -std=c++17 -I. -Xcompiler -fPIC,-Wall,-Wextra \
              $(if $(WERROR)$(CI),-Werror all-warnings)

CUDA_SOURCES   := $(wildcard lib/cuda/*.c)
KERNEL_SOURCES := $(wildcard kernels/cuda/*.cu)
SHARED_OBJECTS := $(BUILD)/lib/formats/float_convert.o $(BUILD)/lib/backend/cuda_chunk.o \
                  $(BUILD)/lib/backend/cuda_layout.o # in the library and the plug-in
CUDA_OBJECTS   := $(CUDA_SOURCES:%.c=$(BUILD)/cuda/%.o) $(SHARED_OBJECTS) \
                  $(KERNEL_SOURCES:%.cu=$(BUILD)/cuda/%.o) $(BUILD)/cuda/kernels/cuda/table.o
CUDA_LIBS       = -L$(CUDA)/lib64 -Wl,-rpath,$(CUDA)/lib64 -lcublasLt -lcudart_static -lrt -ldl -pthread

$(BUILD)/cuda/%.o: %.c | $(BUILD)/.packages
	$(call compile,-isystem $(CUDA)/include $(HAS_CODE))
# The compiler's report (registers, spills) is kept beside the object, for `make spills`.
define compile_cuda
	@mkdir -p $(@D)
	@echo "  nvcc  $<"
	$(Q)$(NVCC) $(NVCCFLAGS) $(1) -Xptxas -v -MD -MF $(@:.o=.d) -c -o $@ $< 2>$(@:.o=.report) \
	    || { cat $(@:.o=.report) >&2; exit 1; }
	$(Q)! grep -i 'warning' $(@:.o=.report) >&2
endef
$(BUILD)/cuda/%.o: %.cu
	$(call compile_cuda,$(GENCODE))

$(BUILD)/libembed-cuda.so: $(CUDA_OBJECTS) lib/cuda/libembed-cuda.map
	@echo "  ld  $@"
	$(Q)$(CXX) $(CFLAGS) $(LDFLAGS) -shared -Wl,--version-script=lib/cuda/libembed-cuda.map \
	    -Wl,-z,relro,-z,now,--no-undefined -o $@ $(filter %.o,$^) $(CUDA_LIBS)

spills: $(BUILD)/libembed-cuda.so
	@sh tests/spills $(KERNEL_SOURCES:%.cu=$(BUILD)/cuda/%.report)

# The calculated time of every launch. Here the kernels' launchers call gpu_table_launch.o as their
# CUDA runtime.
$(BUILD)/gpu-table: $(patsubst %.c,$(BUILD)/cuda/%.o,$(wildcard bench/gpu_table*.c)) \
    $(BUILD)/lib/backend/cuda_chunk.o $(KERNEL_SOURCES:%.cu=$(BUILD)/cuda/%.o) $(BUILD)/cuda/kernels/cuda/table.o
	@echo "  ld  $@"
	$(Q)$(CXX) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lm
gpu-table: $(BUILD)/gpu-table
	$(Q)$< $(KERNEL_SOURCES:%.cu=$(BUILD)/cuda/%.report) >$(BUILD)/gpu-table.csv
	$(Q)mv $(BUILD)/gpu-table.csv bench/results/gpu-table.csv

figures:
	$(Q)bench/figures

ifneq ($(NVCC),)
all: $(BUILD)/libembed-cuda.so
endif

# ---- the emulated device -------------------------------------------------------------------
# The same lib/cuda and kernels/cuda as a plug-in whose CUDA is tests/emu, without a GPU or the
# toolkit. Built once for each variant of the kernels: Turing's, and that of later GPUs.
EMULATED_ARCHS   := 75 80
# As in a build without PTX that other GPUs could run: there are some that it does not support.
EMULATED_CODE    := -DCUDA_ARCHS='"75 80 120"' -DCUDA_PTX=120
EMULATOR_SOURCES := $(wildcard tests/emu/*.cpp)
EMULATED         := -std=c++17 -O2 -ffp-contract=off -fno-strict-aliasing -Itests/emu/include -I. \
                    -D_GNU_SOURCE -pthread -fPIC -MMD -MP -Wno-unknown-pragmas \
                    $(filter-out -Wstrict-prototypes -Wmissing-prototypes,$(WARNINGS))

define compile_emulated
	@mkdir -p $(@D)
	@echo "  c++  $<"
	$(Q)$(CXX) $(CFLAGS) $(EMULATED) -DEMULATED_ARCH=$(1)0 -x c++ -c -o $@ $<
endef

define emulated_rules
EMULATED_$(1) := $(CUDA_SOURCES:%.c=$(BUILD)/emulated/sm_$(1)/%.o) $(SHARED_OBJECTS) \
                 $(KERNEL_SOURCES:%.cu=$(BUILD)/emulated/sm_$(1)/%.o) \
                 $(BUILD)/emulated/sm_$(1)/kernels/cuda/table.o \
                 $(EMULATOR_SOURCES:%.cpp=$(BUILD)/emulated/sm_$(1)/%.o)
$(BUILD)/emulated/sm_$(1)/%.o: %.c | $(BUILD)/.packages
	$$(call compile,-Itests/emu/include -fvisibility=default $(EMULATED_CODE))
$(BUILD)/emulated/sm_$(1)/%.o: %.cu | $(BUILD)/.packages-check
	$$(call compile_emulated,$(1))
# The device itself is never instrumented: it informs the sanitizers about the kernels. Nor are the
# kernels of its own tests, which are broken on purpose. (override: make asan sets CFLAGS on the
# command line.)
$(BUILD)/emulated/sm_$(1)/tests/emu/%.o: override CFLAGS := $$(filter-out -fsanitize%,$(CFLAGS)) -fvisibility=hidden
$(BUILD)/emulated/sm_$(1)/%.o: %.cpp | $(BUILD)/.packages-check
	$$(call compile_emulated,$(1))
$(BUILD)/emulated/sm_$(1)/libembed-cuda.so: $$(EMULATED_$(1)) tests/emu/emulated.map
	@echo "  ld  $$@"
	$(Q)$(CXX) $(CFLAGS) $(LDFLAGS) -shared -pthread -Wl,--version-script=tests/emu/emulated.map \
	    -o $$@ $$(filter %.o,$$^)
$(BUILD)/tests/%_sm_$(1): tests/%.c $(BUILD)/internal.a $(REFERENCE_OBJECTS) \
    $(BUILD)/emulated/sm_$(1)/libembed-cuda.so | $(BUILD)/.packages-check
	@mkdir -p $$(@D)
	@echo "  cc  $$< (sm_$(1))"
	$(Q)$(CC) $(BASE) -Itests -Itests/emu/include -DEMULATED_ARCH=$(1)0 \
	    -DEMULATED_PLUGIN='"$(BUILD)/emulated/sm_$(1)/libembed-cuda.so"' $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) \
	    -o $$@ $$< $(REFERENCE_OBJECTS) $(BUILD)/internal.a -L$(BUILD)/emulated/sm_$(1) -l:libembed-cuda.so \
	    -Wl,-rpath,'$$$$ORIGIN/../emulated/sm_$(1)' -lcmocka $(LIBS)
endef
$(foreach arch,$(EMULATED_ARCHS),$(eval $(call emulated_rules,$(arch))))

# The device's own tests, without libembed: broken kernels whose faults it must find, and probes.
# They are C, linked with the device and the kernels they launch; only `race` is built for
# ThreadSanitizer.
EMULATOR_TESTS := $(patsubst tests/emu/test_%.c,%,$(wildcard tests/emu/test_*.c))
TESTS += $(foreach arch,$(EMULATED_ARCHS),$(EMULATOR_TESTS:%=$(BUILD)/tests/test_emulator_%_sm_$(arch)))

define emulator_test_rules
EMULATOR_$(1) := $(EMULATOR_SOURCES:%.cpp=$(BUILD)/emulated/sm_$(1)/%.o)
$(BUILD)/emulated/sm_$(1)/race: tests/emu/kernels/broken.cu tests/emu/kernels/race.cpp $$(EMULATOR_$(1))
	@echo "  c++  $$@"
	$(Q)$(CXX) $$(filter-out -MMD -MP,$(EMULATED)) -g -O1 -fsanitize=thread -DEMULATED_ARCH=$(1)0 \
	    -x c++ $$(filter-out %.o,$$^) -x none $$(filter %.o,$$^) -o $$@
$(BUILD)/tests/test_emulator_%_sm_$(1): tests/emu/test_%.c $$(EMULATOR_$(1)) \
    $(BUILD)/emulated/sm_$(1)/tests/emu/kernels/broken.o \
    $(BUILD)/emulated/sm_$(1)/tests/emu/kernels/probes.o | $(BUILD)/emulated/sm_$(1)/race
	@mkdir -p $$(@D)
	@echo "  cc  $$< (sm_$(1))"
	$(Q)$(CC) $(BASE) -fvisibility=default -Itests/emu/include -DEMULATED_ARCH=$(1)0 \
	    -DRACE_PROGRAM='"$(BUILD)/emulated/sm_$(1)/race"' $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) \
	    -o $$@ $$< $$(filter %.o,$$^) -lcmocka -lstdc++ -lm
endef
$(foreach arch,$(EMULATED_ARCHS),$(eval $(call emulator_test_rules,$(arch))))

# ---- models --------------------------------------------------------------------------------
weights/$(MODEL)/.complete weights/$(MPNET)/.complete: weights/%/.complete: \
    weights/fetch weights/manifest
	@sh weights/fetch $*

# Without a network the tests of the real model are skipped and counted; under CI that is an error.
model-for-tests:
	@$(MAKE) --no-print-directory weights/$(MODEL)/.complete $(if $(CI),,|| \
	    echo "the tests of the real model will be skipped")

# ---- demo and tests ------------------------------------------------------------------------
demo: $(BUILD)/demo $(BUILD)/embed weights/$(MODEL)/.complete
	@$(BUILD)/demo weights/$(MODEL) tools/demo.txt

# Tests are linked with internal.a, which exposes the hidden symbols of the library.
$(BUILD)/tests/%: tests/%.c $(BUILD)/internal.a $(REFERENCE_OBJECTS) | $(BUILD)/.packages-check
	@mkdir -p $(@D)
	@echo "  cc  $<"
	$(Q)$(CC) $(BASE) -Itests $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $< $(REFERENCE_OBJECTS) \
	    $(BUILD)/internal.a -lcmocka -ljansson $(LIBS)

# Makes system calls fail as tests of the command line request.
$(BUILD)/tests/fault_preload.so: tests/fault_preload.c tests/fault_plan.h | $(BUILD)/.packages
	@mkdir -p $(@D)
	@echo "  cc  $<"
	$(Q)$(CC) $(BASE) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -shared -o $@ $<
$(addprefix $(BUILD)/tests/test_cli_,faults resume journal kills): | $(BUILD)/tests/fault_preload.so
$(addprefix $(BUILD)/tests/test_,out_of_memory examples cli_verify): | $(BUILD)/emulated/sm_80/libembed-cuda.so
$(BUILD)/tests/test_examples: | $(EXAMPLES)
$(BUILD)/tests/test_bench: | $(BUILD)/embed-bench

# Runs as many programs at a time as there are processors, and those that check times one by one.
JOBS        ?= $(shell nproc 2>/dev/null || echo 1)
TIMED       := pool pool_load pool_generate pool_generate_faults pool_generate_load cache_threads \
               thread_team $(EMULATED_ARCHS:%=emulator_latency_sm_%) cuda_pool_sm_80 cuda_pool_load_sm_80
TIMED_TESTS := $(TIMED:%=$(BUILD)/tests/test_%)
run_tests    = BUILD=$(BUILD) JOBS=$(JOBS) sh tests/run $(filter-out $(TIMED_TESTS),$(1)) \
               -- $(filter $(TIMED_TESTS),$(1))

check: layers $(TESTS) all model-for-tests
	@MODEL=weights/$(MODEL) $(call run_tests,$(TESTS))

check-full: layers $(TESTS) $(FULL_TESTS) all model-for-tests weights/$(MPNET)/.complete
	@MODEL=weights/$(MODEL) MPNET=weights/$(MPNET) $(call run_tests,$(TESTS) $(FULL_TESTS))

layers:
	@sh tests/layers

ASAN_CFLAGS := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
asan:
	$(Q)$(MAKE) check-tiny BUILD=$(BUILD)/asan \
	    CFLAGS="$(ASAN_CFLAGS)"
tsan:
	$(Q)$(MAKE) check-threads BUILD=$(BUILD)/tsan CFLAGS="-O1 -g -fsanitize=thread"
# Without the real model, which takes too long there: its tests are skipped and counted.
check-tiny: $(TESTS) all
	@MODEL= MOST_SECONDS=3600 $(call run_tests,$(TESTS))
# The tests in which threads of the program, the library or a kernel run concurrently.
THREADED := threads thread_team fingerprint pool pool_load pool_generate pool_generate_faults pool_generate_load metrics cache cache_threads api encoder tokenizer out_of_memory faults cuda_kernels_sm_80 cuda_decoder_sm_80 cuda_beams_sm_80
check-threads: $(THREADED:%=$(BUILD)/tests/test_%)
	@MODEL= MOST_SECONDS=3600 $(call run_tests,$^)
# valgrind does not support AVX-512 and hides it, so the library uses its AVX2 kernels.
memcheck: $(TESTS) all
	@BUILD=$(BUILD) JOBS=$(JOBS) sh tests/memcheck $(TESTS)

# ---- fuzzing -------------------------------------------------------------------------------
# See tests/fuzz/README.md. The targets are linked with the objects of the library's readers and the
# tool's; everything else that the tool calls is in FUZZ_LIBRARY, which any compiler may have built.
FUZZ_NAMES    := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_OBJECTS  := $(filter $(foreach part,base formats description,$(BUILD)/lib/$(part)/%), \
                 $(LIB_OBJECTS)) $(BUILD)/lib/service/batch_profile.o \
                 $(patsubst %,$(BUILD)/tools/embed_%.o,common distinct hash journal jsonl \
                     lines options output)
FUZZ_LIBRARY  := $(BUILD)/internal.a
FUZZ_CFLAGS   := -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined \
                 -fno-sanitize-recover=all
COVER_CFLAGS  := -O1 -g -fprofile-instr-generate -fcoverage-mapping
CLANG         ?= clang
SECONDS       ?= 60

link_fuzz = $(CC) $(BASE) -Itests $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $< $(filter %.o,$^) \
            $(FUZZ_LIBRARY) -Wl,-rpath,$(abspath $(dir $(FUZZ_LIBRARY))) -ljansson $(LIBS)
with_clang = --no-print-directory CC=$(CLANG) FUZZ_LIBRARY=$(BUILD)/libembed.so

$(BUILD)/fuzz_%: tests/fuzz/fuzz_%.c $(FUZZ_OBJECTS) | $(FUZZ_LIBRARY)
	@echo "  ld  $@"
	$(Q)$(link_fuzz) -fsanitize=fuzzer
fuzz-programs: $(FUZZ_NAMES:%=$(BUILD)/fuzz_%)

# All targets in one program, which replays the stored inputs.
$(BUILD)/tests/fuzz/%.o: tests/fuzz/fuzz_%.c | $(BUILD)/.packages
	$(call compile,-DLLVMFuzzerTestOneInput=fuzz_$* -DFUZZ_MOST_SECONDS=60)
$(BUILD)/tests/test_fuzz_corpus: BASE += -DFUZZ_TARGETS='$(foreach name,$(FUZZ_NAMES),X($(name)))'
$(BUILD)/tests/test_fuzz_corpus: tests/test_fuzz_corpus.c $(FUZZ_NAMES:%=$(BUILD)/tests/fuzz/%.o) \
    $(FUZZ_OBJECTS) $(FUZZ_LIBRARY) | $(BUILD)/.packages-check
	@echo "  cc  $<"
	$(Q)$(link_fuzz) -lcmocka

fuzz-compiler:
	@sh tests/fuzz/run check $(CLANG)
fuzz: fuzz-compiler $(BUILD)/libembed.so
	$(Q)$(MAKE) $(with_clang) BUILD=$(BUILD)/fuzz CFLAGS="$(FUZZ_CFLAGS)" \
	    $(if $(TARGET),$(BUILD)/fuzz/fuzz_$(TARGET),fuzz-programs)
	$(Q)sh tests/fuzz/run $(BUILD)/fuzz $(SECONDS) $(or $(TARGET),$(FUZZ_NAMES))

# Runs all files of tests/malformed through the readers alone, which build quickly with sanitizers.
WRAPPED := malloc calloc realloc posix_memalign free
$(BUILD)/tests/test_malformed: tests/test_malformed.c \
    $(filter-out $(BUILD)/lib/service/%,$(filter $(BUILD)/lib/%,$(FUZZ_OBJECTS))) \
    | $(BUILD)/.packages-check
	@mkdir -p $(@D)
	@echo "  cc  $<"
	$(Q)$(CC) $(BASE) -Itests $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) $(WRAPPED:%=-Wl,--wrap=%) -o $@ $< \
	    $(filter %.o,$^) -lcmocka $(LIBS)
malformed:
	$(Q)$(MAKE) --no-print-directory BUILD=$(BUILD)/asan CFLAGS="$(ASAN_CFLAGS)" \
	    $(BUILD)/asan/tests/test_malformed
	$(Q)python3 -B tests/malformed/cases.py | $(BUILD)/asan/tests/test_malformed -

fuzz-coverage: fuzz-compiler $(BUILD)/libembed.so
	$(Q)$(MAKE) $(with_clang) BUILD=$(BUILD)/cover CFLAGS="$(COVER_CFLAGS)" $(BUILD)/cover/tests/test_fuzz_corpus
	$(Q)CLANG=$(CLANG) sh tests/fuzz/coverage $(BUILD)/cover

# ---- measurements --------------------------------------------------------------------------
# Measures real lines and recommends settings for a service. Two runs in a row should agree.
QUICK := $(BUILD)/bench-quick
bench-quick: $(BUILD)/embed-bench weights/$(MODEL)/.complete | $(BUILD)/.packages-bench
	@mkdir -p $(QUICK)
	$(BUILD)/embed-bench sweep -m weights/$(MODEL) --text tests/vectors/lines.txt --device cpu \
	    --batch 1..128 --chunk 256,512,1024 --seconds 240 --csv $(QUICK)/$(MODEL).csv \
	    --plot $(QUICK)/$(MODEL).svg --profile $(QUICK)/$(MODEL).json
	@ls -l $(QUICK)

# ---- the check on a real GPU ---------------------------------------------------------------
# The programs of tests/gpu/run. The kernels are a library of their own, and a second time, in
# gpu/ptx, as PTX for Turing alone, which the driver compiles, so that Turing's branches run on any
# GPU.
GPU_TESTS     := $(filter-out tests/test_cuda_models.c,$(CUDA_TEST_SOURCES))
GPU_PROGRAMS  := $(addprefix $(BUILD)/,embed embed-bench libembed-cuda.so) \
                 $(addprefix $(BUILD)/gpu/,libkernels.so ptx/libkernels.so ptx/libembed-cuda.so \
                 matmul_invariance kernel_times gpu_info batch_invariance compare_rows memory_check \
                 random_model) \
                 $(GPU_TESTS:tests/%.c=$(BUILD)/gpu/%)
PLUGIN_PARTS  := $(filter-out $(BUILD)/cuda/kernels/%,$(CUDA_OBJECTS))
KERNELS       := $(KERNEL_SOURCES:%.cu=$(BUILD)/cuda/%.o)
PTX_KERNELS   := $(KERNEL_SOURCES:%.cu=$(BUILD)/ptx/%.o)
GPU_LIBS       = -L$(BUILD)/gpu -lkernels -L$(CUDA)/lib64 -lcublasLt -lcudart -lcmocka $(LIBS) \
                 -Wl,--enable-new-dtags,-rpath,'$$ORIGIN',-rpath,$(CUDA)/lib64

define link_gpu
	@mkdir -p $(@D)
	@echo "  ld  $@"
	$(Q)$(CXX) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o %.a,$^)
endef

$(BUILD)/ptx/%.o: %.cu
	$(call compile_cuda,-arch=compute_75)
$(BUILD)/gpu/ptx/libembed-cuda.so: $(PLUGIN_PARTS) $(PTX_KERNELS) $(BUILD)/cuda/kernels/cuda/table.o
	$(link_gpu) -shared -Wl,--version-script=lib/cuda/libembed-cuda.map,--no-undefined $(CUDA_LIBS)

$(BUILD)/gpu/table.o: kernels/cuda/table.c | $(BUILD)/.packages
	$(call compile,-isystem $(CUDA)/include -fvisibility=default)
$(BUILD)/gpu/libkernels.so: $(KERNELS) $(BUILD)/gpu/table.o
	$(link_gpu) -shared -Wl,--no-undefined -L$(CUDA)/lib64 -lcudart
$(BUILD)/gpu/ptx/libkernels.so: $(PTX_KERNELS) $(BUILD)/gpu/table.o
	$(link_gpu) -shared -Wl,--no-undefined -L$(CUDA)/lib64 -lcudart

$(BUILD)/gpu/test_cuda_%: $(BUILD)/cuda/tests/test_cuda_%.o $(REFERENCE_OBJECTS) $(BUILD)/gpu/libkernels.so
	$(link_gpu) $(GPU_LIBS)
$(BUILD)/gpu/%: $(BUILD)/cuda/tests/gpu/%.o $(BUILD)/cuda/lib/cuda/matmul.o \
    $(BUILD)/cuda/lib/cuda/cuda_error.o $(BUILD)/internal.a \
    $(BUILD)/gpu/libkernels.so
	$(link_gpu) $(GPU_LIBS)
# Not linked with the kernels: these use the public library, as any program does, or no GPU.
$(BUILD)/gpu/batch_invariance: tests/gpu/batch_invariance.c $(BUILD)/libembed.so
	@mkdir -p $(@D)
	@echo "  cc  $<"
	$(Q)$(CC) $(BASE) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $< -L$(BUILD) -lembed \
	    -Wl,-rpath,'$$ORIGIN/..'
$(BUILD)/gpu/memory_check: tests/gpu/memory_check.c $(BUILD)/libembed.so
	@mkdir -p $(@D)
	@echo "  cc  $<"
	$(Q)$(CC) $(BASE) -isystem $(CUDA)/include $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $< -L$(BUILD) -lembed \
	    -L$(CUDA)/lib64 -lcudart -Wl,--enable-new-dtags,-rpath,'$$ORIGIN/..',-rpath,$(CUDA)/lib64
$(BUILD)/gpu/compare_rows $(BUILD)/gpu/random_model $(BUILD)/gpu/round_to_f16: $(BUILD)/gpu/%: tests/gpu/%.c $(BUILD)/internal.a
	@mkdir -p $(@D)
	@echo "  cc  $<"
	$(Q)$(CC) $(BASE) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $< $(BUILD)/internal.a $(LIBS)

gpu-programs: $(GPU_PROGRAMS)

# Machine code for one GPU only, by default the H200: with all CUDA_ARCHS it would be too large.
GPU_ARCH ?= 90
gpu-bundle:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/sm_$(GPU_ARCH) CUDA_ARCHS=$(GPU_ARCH) \
	    ARCHIVE=$(BUILD)/gpu-bundle.tar.gz gpu-archive
gpu-archive: $(GPU_PROGRAMS) $(BUILD)/gpu/round_to_f16 weights/$(MODEL)/.complete
	@BUILD=$(BUILD) MODEL=weights/$(MODEL) sh tests/gpu/bundle $(ARCHIVE) $(GPU_PROGRAMS)

# ---- install -------------------------------------------------------------------------------
# The folders that the loader searches by default. With any other LIBDIR, the installed embed finds
# its library by an rpath, and there is no cache to update.
LOADER_FOLDERS := /lib64 /usr/lib64 $(foreach folder,/lib /usr/lib /usr/local/lib, \
                  $(folder) $(folder)/$(MACHINE)-linux-gnu)
IS_LOADED_FROM  = $(filter $(LOADER_FOLDERS),$(LIBDIR))

renew_cache     = $(if $(IS_LOADED_FROM), \
                  [ -n '$(DESTDIR)' ] || [ "$$(id -u)" != 0 ] || ldconfig || true)

PLUGIN = $(if $(NVCC),$(BUILD)/libembed-cuda.so)

# Links again, without the rpath to the build folder.
link_installed  = $(CC) $(CFLAGS) $(LDFLAGS) -pthread -o '$(DESTDIR)$(BINDIR)/$(1)' $(2) -L$(BUILD) \
                  -lembed $(3) $(if $(IS_LOADED_FROM),,-Wl,-rpath,'$(LIBDIR)') && \
                  chmod 755 '$(DESTDIR)$(BINDIR)/$(1)'

install: $(BUILD)/libembed.so $(BUILD)/libembed.a $(EMBED_OBJECTS) $(BENCH_PARTS) lib/embed.pc.in $(PLUGIN)
	@echo "  install  $(DESTDIR)$(PREFIX)"
	$(Q)install -d '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(INCLUDEDIR)' \
	    '$(DESTDIR)$(LIBDIR)/pkgconfig' '$(DESTDIR)$(MANDIR)/man1' '$(DESTDIR)$(MANDIR)/man3'
	$(Q)install -m 644 include/embed.h '$(DESTDIR)$(INCLUDEDIR)/embed.h'
	$(Q)install -m 644 $(BUILD)/libembed.a '$(DESTDIR)$(LIBDIR)/libembed.a'
	$(Q)install -m 755 $(BUILD)/libembed.so.$(VERSION) '$(DESTDIR)$(LIBDIR)/libembed.so.$(VERSION)'
	$(Q)ln -sf libembed.so.$(VERSION) '$(DESTDIR)$(LIBDIR)/libembed.so.$(MAJOR)'
	$(Q)ln -sf libembed.so.$(MAJOR) '$(DESTDIR)$(LIBDIR)/libembed.so'
	$(if $(PLUGIN),$(Q)install -m 755 $(PLUGIN) '$(DESTDIR)$(LIBDIR)/libembed-cuda.so')
	$(Q)sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' \
	    -e 's|@LIBDIR@|$(patsubst $(PREFIX)/%,$${prefix}/%,$(LIBDIR))|' \
	    -e 's|@INCLUDEDIR@|$(patsubst $(PREFIX)/%,$${prefix}/%,$(INCLUDEDIR))|' \
	    lib/embed.pc.in >'$(DESTDIR)$(LIBDIR)/pkgconfig/embed.pc'
	$(Q)chmod 644 '$(DESTDIR)$(LIBDIR)/pkgconfig/embed.pc'
	$(Q)$(call link_installed,embed,$(EMBED_OBJECTS),-ljansson -lm)
	$(Q)$(call link_installed,embed-bench,$(BENCH_PARTS),-lm)
	$(Q)install -m 644 man/embed.1 '$(DESTDIR)$(MANDIR)/man1/embed.1'
	$(Q)install -m 644 man/embed.3 '$(DESTDIR)$(MANDIR)/man3/embed.3'
	$(Q)$(renew_cache)

# Removes only files: others use the folders too.
uninstall:
	@echo "  uninstall  $(DESTDIR)$(PREFIX)"
	$(Q)rm -f '$(DESTDIR)$(BINDIR)/embed' '$(DESTDIR)$(BINDIR)/embed-bench' \
	    '$(DESTDIR)$(INCLUDEDIR)/embed.h' \
	    '$(DESTDIR)$(LIBDIR)/libembed.a' '$(DESTDIR)$(LIBDIR)/libembed.so' \
	    '$(DESTDIR)$(LIBDIR)/libembed.so.$(MAJOR)' '$(DESTDIR)$(LIBDIR)/libembed.so.$(VERSION)' \
	    '$(DESTDIR)$(LIBDIR)/libembed-cuda.so' '$(DESTDIR)$(LIBDIR)/pkgconfig/embed.pc' \
	    '$(DESTDIR)$(MANDIR)/man1/embed.1' '$(DESTDIR)$(MANDIR)/man3/embed.3'
	$(Q)$(renew_cache)

info:
	@echo "machine   $(MACHINE), instruction sets to build: $(ISAS)"
	@echo "compiler  $$($(CC) --version 2>/dev/null | head -n 1 || echo none)"
	@for p in libutf8proc jansson cmocka; do \
	    echo "$$p $$(pkg-config --modversion $$p 2>/dev/null || echo 'not found')"; done
	@echo "CUDA      $(if $(NVCC),$$($(NVCC) --version | sed -n 's/.*release \([0-9.]*\).*/\1/p') in $(CUDA), for sm_ $(CUDA_ARCHS),no nvcc: libembed-cuda.so is not built)"
	@echo "model     weights/$(MODEL): $$([ -e weights/$(MODEL)/.complete ] && echo fetched || echo 'not fetched yet')"

fmt:
	clang-format -i $$(git ls-files '*.c' '*.h')

clean:
	rm -rf $(BUILD)

.PHONY: malformed bench-quick figures fuzz fuzz-programs fuzz-compiler fuzz-coverage gpu-table gpu-programs gpu-bundle gpu-archive model-for-tests spills help all demo check check-full layers asan tsan check-tiny check-threads memcheck \
        install uninstall info fmt clean FORCE
.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
