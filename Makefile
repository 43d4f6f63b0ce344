# libembed - see README.md. `make` alone prints this list.
#
## make demo     build, fetch all-MiniLM-L6-v2, embed a small text, print its most similar pairs
## make check    build, run all tests (fetches all-MiniLM-L6-v2 for those that use it)
## make all      build/embed, build/embed-bench, build/libembed.so, build/libembed.a
## make info     what was found on this machine
## make layers   check who includes whom
## make asan     run the tests under AddressSanitizer and UndefinedBehaviorSanitizer
## make tsan     run the threaded tests under ThreadSanitizer
## make memcheck run the tests under valgrind
## make fmt      format all C files with clang-format
## make clean    remove build/ (fetched models stay in weights/)
#
# Variables: CC, CFLAGS, BUILD (build), V=1 shows the commands, WERROR=1 makes warnings errors.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

BUILD    ?= build
CFLAGS   ?= -O2 -g
MODEL    := all-MiniLM-L6-v2
Q        := $(if $(V),,@)
SHELL    := /bin/sh

# ---- the machine ---------------------------------------------------------------------------
# Recursive on purpose: the compiler may be installed by the `packages` rule of this very run.
MACHINE  := $(shell uname -m)
ISAS     := $(if $(filter x86_64,$(MACHINE)),scalar avx2 avx512,scalar)

FLAGS_scalar :=
FLAGS_avx2   := -mavx2 -mfma
FLAGS_avx512 := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mprefer-vector-width=512

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
            -Wvla $(if $(WERROR)$(CI),-Werror)
BASE     := -std=c11 -D_GNU_SOURCE -pthread -fPIC -fvisibility=hidden $(WARNINGS) \
            -Iinclude -Ilib -I. -MMD -MP
LIBS     := -lutf8proc -ljansson -lm

# ---- files ---------------------------------------------------------------------------------
LIB_SOURCES       := $(wildcard lib/*.c lib/*/*.c)
REFERENCE_SOURCES := $(wildcard kernels/reference/*.c)
CPU_SOURCES       := $(wildcard kernels/cpu/*.c)
TEST_SOURCES      := $(wildcard tests/test_*.c)
EMBED_SOURCES     := $(wildcard tools/embed*.c)

LIB_OBJECTS       := $(LIB_SOURCES:%.c=$(BUILD)/%.o)
CPU_OBJECTS       := $(foreach isa,$(ISAS),$(CPU_SOURCES:kernels/cpu/%.c=$(BUILD)/kernels/cpu/$(isa)/%.o))
REFERENCE_OBJECTS := $(REFERENCE_SOURCES:%.c=$(BUILD)/%.o)
EMBED_OBJECTS     := $(EMBED_SOURCES:%.c=$(BUILD)/%.o)
TESTS             := $(TEST_SOURCES:tests/%.c=$(BUILD)/tests/%)
PROGRAMS          := $(BUILD)/embed $(BUILD)/embed-bench $(BUILD)/example $(BUILD)/demo

help:
	@sed -n 's/^## //p' Makefile

# ---- what the build needs ------------------------------------------------------------------
# Each stamp is made once; tools/packages installs what is missing, or says what to type.
BUILD_PACKAGES := cc:gcc stdio.h:libc6-dev utf8proc.h:libutf8proc-dev jansson.h:libjansson-dev
CHECK_PACKAGES := cmocka.h:libcmocka-dev

$(BUILD)/.packages: tools/packages
	@mkdir -p $(BUILD)
	@sh tools/packages $(BUILD_PACKAGES)
	@touch $@

$(BUILD)/.packages-check: tools/packages $(BUILD)/.packages
	@sh tools/packages $(CHECK_PACKAGES)
	@touch $@

# ---- build ---------------------------------------------------------------------------------
all: $(PROGRAMS) $(BUILD)/libembed.so $(BUILD)/libembed.a

define compile
	@mkdir -p $(@D)
	@echo "  cc  $<"
	$(Q)$(CC) $(BASE) $(CFLAGS) $(1) -c -o $@ $<
endef

$(BUILD)/lib/%.o: lib/%.c | $(BUILD)/.packages
	$(call compile)
$(BUILD)/tools/%.o: tools/%.c | $(BUILD)/.packages
	$(call compile)
$(BUILD)/bench/%.o: bench/%.c | $(BUILD)/.packages
	$(call compile)
$(BUILD)/kernels/reference/%.o: kernels/reference/%.c | $(BUILD)/.packages
	$(call compile)

# Each CPU kernel is compiled once for every instruction set, and only these files get its flags.
# -O3 unrolls the tile loops; contraction to FMA is what the micro-kernels are written for.
# No -ffast-math: results that are not finite must be seen.
define cpu_rule
$(BUILD)/kernels/cpu/$(1)/%.o: kernels/cpu/%.c | $(BUILD)/.packages
	$$(call compile,-O3 -ffp-contract=fast -DISA=$(1) -DISA_$(1) $(FLAGS_$(1)))
endef
$(foreach isa,$(ISAS),$(eval $(call cpu_rule,$(isa))))

$(BUILD)/libembed.so: $(LIB_OBJECTS) $(CPU_OBJECTS)
	@echo "  ld  $@"
	$(Q)$(CC) $(CFLAGS) -shared -pthread -Wl,-soname,libembed.so -Wl,-z,relro,-z,now,--no-undefined \
	    -o $@ $^ $(LIBS)

$(BUILD)/libembed.a: $(LIB_OBJECTS) $(CPU_OBJECTS)
	@echo "  ar  $@"
	$(Q)rm -f $@; ar rcs $@ $^

# The programs are linked with the shared library and find it beside themselves.
link_program = $(CC) $(CFLAGS) -pthread -o $@ $(filter %.o,$^) -L$(BUILD) -lembed -Wl,-rpath,'$$ORIGIN'

$(BUILD)/embed: $(EMBED_OBJECTS) $(BUILD)/libembed.so
	@echo "  ld  $@"
	$(Q)$(link_program) -ljansson
$(BUILD)/embed-bench: $(BUILD)/bench/embed_bench.o $(BUILD)/libembed.so
	@echo "  ld  $@"
	$(Q)$(link_program)
$(BUILD)/%: $(BUILD)/tools/%.o $(BUILD)/libembed.so
	@echo "  ld  $@"
	$(Q)$(link_program) -lm

# ---- models --------------------------------------------------------------------------------
weights/$(MODEL)/.complete: weights/fetch weights/manifest
	@sh weights/fetch $(MODEL)

# Without a network the tests of the real model are skipped, and counted; under CI that is an error.
model-for-tests:
	@$(MAKE) --no-print-directory weights/$(MODEL)/.complete $(if $(CI),,|| \
	    echo "the tests of the real model will be skipped")

# ---- demo and tests ------------------------------------------------------------------------
demo: $(BUILD)/demo weights/$(MODEL)/.complete
	@$(BUILD)/demo weights/$(MODEL) tools/demo.txt

# A test sees the library from inside (hidden symbols and all), through the static library.
$(BUILD)/tests/%: tests/%.c $(BUILD)/libembed.a $(REFERENCE_OBJECTS) | $(BUILD)/.packages-check
	@mkdir -p $(@D)
	@echo "  cc  $<"
	$(Q)$(CC) $(BASE) -Itests $(CFLAGS) -o $@ $< $(REFERENCE_OBJECTS) $(BUILD)/libembed.a -lcmocka $(LIBS)

check: layers $(TESTS) all model-for-tests
	@BUILD=$(BUILD) MODEL=weights/$(MODEL) sh tests/run $(TESTS)

layers:
	@sh tests/layers

asan:
	$(Q)$(MAKE) check BUILD=$(BUILD)/asan \
	    CFLAGS="-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all"
tsan:
	$(Q)$(MAKE) check BUILD=$(BUILD)/tsan CFLAGS="-O1 -g -fsanitize=thread"
memcheck: $(TESTS) all model-for-tests
	@BUILD=$(BUILD) MODEL=weights/$(MODEL) WRAPPER="valgrind -q --error-exitcode=99 --leak-check=full" \
	    sh tests/run $(TESTS)

info:
	@echo "machine   $(MACHINE), instruction sets to build: $(ISAS)"
	@echo "compiler  $$($(CC) --version 2>/dev/null | head -n 1 || echo none)"
	@for p in libutf8proc jansson cmocka; do \
	    echo "$$p $$(pkg-config --modversion $$p 2>/dev/null || echo 'not found')"; done
	@echo "model     weights/$(MODEL): $$([ -e weights/$(MODEL)/.complete ] && echo fetched || echo 'not fetched yet')"

fmt:
	clang-format -i $$(git ls-files '*.c' '*.h')

clean:
	rm -rf $(BUILD)

.PHONY: model-for-tests help all demo check layers asan tsan memcheck info fmt clean
.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
