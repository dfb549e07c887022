# flux-event-store: one binary. `make help` lists the targets; the tests are built by test/Makefile.
#
# BUILD, CC, CFLAGS, LDFLAGS, PREFIX, DESTDIR, VERSION, and STATIC (where "make static" builds) may be overridden.
# SANITIZE=address,undefined (with a BUILD of its own) makes an instrumented build. WERROR=1 turns warnings into errors,
# as CI does.

BUILD    ?= build
STATIC   ?= build/static
PREFIX   ?= /usr/local
VERSION  ?= 0.1.0
CFLAGS   ?= -O2 -g
SANITIZE ?=
WERROR   ?=
FOLDERS  := store http k8s controller

PKG_CONFIG ?= pkg-config
PACKAGES_LIB := libevent libevent_pthreads libevent_openssl openssl jansson lmdb

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wstrict-prototypes -Wold-style-definition \
	-Wmissing-prototypes -Wpointer-arith -Wcast-align -Wcast-qual -Wwrite-strings -Wformat=2 -Wundef -Wvla -Walloca \
	-Wimplicit-fallthrough -Wdate-time -Wlogical-op -Wduplicated-cond -Wduplicated-branches \
	-Werror=implicit-function-declaration -Werror=incompatible-pointer-types -Werror=int-conversion -Werror=return-type
# What wraps is no overflow to a sanitizer: an instrumented build does without that flag.
HARDENING := -fstack-protector-strong -fstack-clash-protection -fcf-protection -ftrivial-auto-var-init=zero \
	-fPIE $(if $(SANITIZE),,-fno-strict-overflow)

# gcc and clang know different flags, and so do processors (-fcf-protection is x86): keep what this compiler takes.
known = $(shell for f in $(1); do $(CC) -Werror $$f -x c -c /dev/null -o /dev/null 2>/dev/null && echo $$f; done)
ifeq ($(filter help deps deps-% clean lint layering mutate demo run test sim crash differential coverage e2e manifests bench fuzz,$(or $(MAKECMDGOALS),all)),)
ifeq ($(shell $(PKG_CONFIG) --exists $(PACKAGES_LIB) 2>/dev/null && echo yes),)
$(error libraries are missing ($(PACKAGES_LIB)): "make deps" installs what is needed on Debian)
endif
KNOWN_FLAGS := $(call known,$(WARNINGS) $(HARDENING))
PKG_CFLAGS  := $(shell $(PKG_CONFIG) --cflags $(PACKAGES_LIB))
endif

CPPFLAGS_ALL := -I. -D_GNU_SOURCE -DFES_VERSION='"$(VERSION)"' $(PKG_CFLAGS) $(CPPFLAGS)
# The same binary wherever it is built: no folder in it.
CFLAGS_ALL   := -std=c17 -MMD -MP -ffile-prefix-map=$(CURDIR)=. $(KNOWN_FLAGS) $(CFLAGS) $(if $(WERROR),-Werror)
LDFLAGS_ALL  := -pie -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,--as-needed $(LDFLAGS)
ifeq ($(SANITIZE),)
# -U: some compilers define another level by themselves.
CPPFLAGS_ALL += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
else
CFLAGS_ALL  += -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer
LDFLAGS_ALL += -fsanitize=$(SANITIZE)
endif

LIBS   := $(FOLDERS:%=$(BUILD)/lib%.a)
# The linker reads from left to right: users before what they use.
LINK   := $(foreach f,controller k8s http store,$(BUILD)/lib$(f).a)
OBJECT  = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
BINARY := $(BUILD)/flux-event-store

all: $(BINARY) ## build build/flux-event-store

$(BINARY): $(call OBJECT,main.c) $(LIBS)
	@echo "  LINK $@"
	@$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $< $(LINK) $(LINK_STATIC) \
		$(shell $(PKG_CONFIG) $(if $(LINK_STATIC),--static) --libs $(PACKAGES_LIB))

define folder_rule
$(BUILD)/lib$(1).a: $(call OBJECT,$(sort $(wildcard $(1)/*.c)))
	@echo "  AR   $$@"
	@rm -f $$@ && $$(AR) rcsD $$@ $$^
endef
$(foreach f,$(FOLDERS),$(eval $(call folder_rule,$(f))))

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC   $<"
	@$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -c -o $@ $<

# Relative relocations packed: a static OpenSSL has 20,000, half a MiB. The linker that cannot says so, and goes on.
static: ## build build/static/flux-event-store, linked statically
	@.ci/libraries.sh check
	@$(MAKE) --no-print-directory BUILD=$(STATIC) LDFLAGS="$(LDFLAGS) -static-pie -Wl,-z,pack-relative-relocs" \
		LINK_STATIC=-static-pie all

sbom: static ## build build/static/flux-event-store.spdx.json: what is in the static binary
	@.ci/sbom.sh $(STATIC)/flux-event-store $(VERSION) >$(STATIC)/flux-event-store.spdx.json

install: all ## install the binary and the manual page (DESTDIR, PREFIX)
	install -D -m 0755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/flux-event-store
	install -D -m 0644 docs/flux-event-store.8 $(DESTDIR)$(PREFIX)/share/man/man8/flux-event-store.8

demo: deps-build ## set up a small API server and the binary, and play the README's stories
	@$(MAKE) --no-print-directory all
	@$(MAKE) --no-print-directory -f test/Makefile build/test/fake-apiserver
	@test/demo.sh

run: deps-build ## the same set-up, staying up, with the curl commands to try
	@$(MAKE) --no-print-directory all
	@$(MAKE) --no-print-directory -f test/Makefile build/test/fake-apiserver
	@test/demo.sh --stay

test: deps-test ## unit, simulated, integration and fuzz-replay tests, under sanitizers
	@$(MAKE) --no-print-directory -f test/Makefile test

sim: deps-test ## stories of the controller by seed: SEEDS=1000000 runs many, SEED=n tells one
	@$(MAKE) --no-print-directory -f test/Makefile sim

crash: deps-test ## kill -9, power loss, failing calls: nothing is lost (ROUNDS=30 IMAGES=5000 POINTS=80 DAYS=8)
	@$(MAKE) --no-print-directory -f test/Makefile crash

differential: deps-test ## mutated requests against a second HTTP parser (CASES=1000000)
	@$(MAKE) --no-print-directory -f test/Makefile differential

e2e: deps-e2e ## the real kube-apiserver, Tekton and helm (needs Go; builds them once)
	@$(MAKE) --no-print-directory all
	@test/e2e/run

# HELM: a helm of one's own; without it, the one that e2e builds.
manifests: ## build/install.yaml and build/kustomize/, for use without Helm
	@HELM=$(or $(HELM),$$(test/e2e/build.sh helm | cut -d= -f2)/helm) chart/manifests.sh build

coverage: deps-build ## branches of the core that unit tests, fuzz corpora and simulated stories take, per file
	@$(MAKE) --no-print-directory -f test/Makefile coverage

bench: deps-bench ## measure; prints, and gates nothing
	@$(MAKE) --no-print-directory all
	@$(MAKE) --no-print-directory -f test/Makefile bench

fuzz: deps-fuzz ## libFuzzer on every target (FUZZ_SECONDS=60 each)
	@$(MAKE) --no-print-directory -f test/Makefile fuzz

lint: deps-lint ## format, forbidden functions, sizes, static analysis, shell scripts, the manual, workflows
	@test/lint.sh

mutate: deps-test ## break the code once per behaviour of docs/conformance.md, and elsewhere, and see a test notice
	@test/mutate.sh

layering: ## each folder includes only what is left of it
	@test/layering.sh

# What a Debian machine needs. Nothing is asked; nothing happens when all is there.
DEPS_build := build-essential pkg-config libevent-dev libjansson-dev libssl-dev liblmdb-dev curl ca-certificates
DEPS_test  := $(DEPS_build) binutils python3 python3-h11 python3-jsonschema python3-pytest python3-pytest-xdist python3-seccomp \
	python3-yaml systemd
DEPS_bench := $(DEPS_build) python3 wrk
DEPS_fuzz  := $(DEPS_build) clang libclang-rt-14-dev
DEPS_e2e   := $(DEPS_build) debootstrap qemu-user-static
DEPS_lint  := $(DEPS_build) clang-format cppcheck mandoc python3 python3-yaml shellcheck
deps: ## install the Debian packages that all targets need
	@test/deps.sh $(sort $(DEPS_test) $(DEPS_bench) $(DEPS_fuzz) $(DEPS_e2e) $(DEPS_lint))
	@test/debian.sh prometheus usr/bin/promtool >/dev/null
	@test/debian.sh etcd-server usr/bin/etcd >/dev/null
deps-%:
	@test/deps.sh $(DEPS_$*)
	@$(if $(filter test,$*),test/debian.sh prometheus usr/bin/promtool >/dev/null)
	@$(if $(filter bench e2e,$*),test/debian.sh etcd-server usr/bin/etcd >/dev/null)

clean: ## remove build/
	rm -rf build

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | sort | awk -F'\t' '{printf "  %-12s %s\n", $$1, $$2}'

-include $(wildcard $(BUILD)/obj/*.d $(BUILD)/obj/*/*.d)
.PHONY: all static sbom install demo run test sim crash differential coverage e2e manifests bench fuzz lint layering mutate deps clean help
