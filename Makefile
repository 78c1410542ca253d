# Everything a developer or CI runs. Needs Go, gcc (for the race detector), make and git; the tools are Go tools,
# pinned in tools.mod and built on first use. As root on Debian, `make test` installs Python, Node and the like if missing,
# and `make bench` wrk, nginx and all brokers; without them the tests of plugin servers in other languages are skipped.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules --no-print-directory

GO ?= go
TOOL := $(GO) tool -modfile=tools.mod
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
# How the gateway is linked without methods that nothing calls; .ci/lean says what it changes, and grpcnotrace leaves out
# gRPC's pages of traces, which execute templates.
LEAN := bin/lean/go.mod
RELEASE := -modfile=$(LEAN) -tags grpcnotrace -trimpath

# How long one package's tests may take before they are stopped with all goroutines' stacks.
TEST_TIMEOUT ?= 8m
# How often a failed test is run again, alone, before it counts: a stall of a shared machine is no defect, and the first
# failure is printed all the same. More than three failures, a race or a crash are never tried again. RERUNS=0: never.
RERUNS ?= 1
# Which packages, for test, soak, lint and fuzz: make test PKG=./host/...
PKG ?= ./...
# How long each fuzz target runs.
FUZZTIME ?= 20s
# Where the demo listens; ONCE=1 checks the replies and exits.
LISTEN ?= 127.0.0.1:8080
ONCE ?=
# More flags for the benchmark: make bench BENCH='--rounds 9 --rows stream --json out.json'
BENCH ?=

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: all
all: build test lint ## Build, test and lint (what plain `make` does)

.PHONY: build
build: $(LEAN) ## Build bin/turnbuckle
	$(GO) build $(RELEASE) -ldflags '$(LDFLAGS)' -o bin/turnbuckle ./cmd/turnbuckle

$(LEAN): go.mod go.sum .ci/lean
	GO='$(GO)' .ci/lean $(@D)

.PHONY: demo
demo: build ## Start an upstream, the example plugin server and the gateway; show requests (LISTEN=, ONCE=1)
	$(GO) build -trimpath -o bin/demo-plugin ./examples/go-grpc
	$(GO) build -trimpath -o bin/demo ./cmd/demo
	bin/demo --gateway bin/turnbuckle --plugin bin/demo-plugin --listen '$(LISTEN)' $(if $(ONCE),--once)

.PHONY: toolchains
toolchains: ## Install what the tests of plugin servers in other languages need (Debian, as root)
	@.ci/install

.PHONY: test
test: toolchains ## Run every test under the race detector
	$(TOOL) gotestsum --format pkgname --hide-summary skipped --packages '$(PKG)' \
		--rerun-fails=$(RERUNS) --rerun-fails-max-failures=3 --rerun-fails-abort-on-data-race \
		-- -race -timeout $(TEST_TIMEOUT)

.PHONY: soak
soak: toolchains ## Run the tests with their full numbers (TURNBUCKLE_SOAK=1); takes long
	TURNBUCKLE_SOAK=1 $(GO) test -race -count=1 -timeout 60m $(PKG)

.PHONY: lint
lint: check-format check-generate check-lean ## Check formatting, generated code, go vet and staticcheck
	$(GO) vet $(PKG)
	$(TOOL) staticcheck $(PKG)

.PHONY: check-lean
check-lean: $(LEAN) ## Fail when something has the linker keep methods that nothing calls
	@found=$$($(GO) build $(RELEASE) -ldflags=-dumpdep -o /dev/null ./cmd/turnbuckle 2>&1 | sed -n 's/ <ReflectMethod>$$//; T; s/.* //p' | sort -u); \
	if [ -n "$$found" ]; then echo "these look methods up by name or number, so all are kept (RATIONALE.md has what to do):"; echo "$$found"; exit 1; fi

.PHONY: check-format
check-format: ## Fail when gofmt would change a file
	@unformatted=$$(git ls-files -co --exclude-standard '*.go' | while read -r f; do [ ! -f "$$f" ] || echo "$$f"; done | xargs -r gofmt -l); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi

.PHONY: bench
bench: build ## Measure the gateway against the targets of the performance page (BENCH='flags')
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/bench ./cmd/bench
	bin/bench run --install --gateway bin/turnbuckle $(BENCH)

.PHONY: microbench
microbench: ## Run the Go benchmarks of PKG with their allocations (make microbench PKG=./bundles)
	$(GO) test -run '^$$' -bench . -benchmem $(PKG)

# Which version of the public list of crawlers make generate fetches; default: the one that is there. CRAWLERS=latest is the newest.
CRAWLERS ?=

.PHONY: generate
generate: ## Generate the Go code of proto/ and the list of plugins/bots again, with the pinned tools (CRAWLERS=latest)
	@fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
	$(TOOL) buf generate proto --template proto/buf.gen.yaml -o "$$fresh"; \
	find proto -name '*.pb.go' -delete; \
	cp -R "$$fresh"/. proto/
	plugins/bots/crawlers/fetch $(CRAWLERS)
	$(GO) test ./plugins/bots -run TestListIsThePublished -update

.PHONY: check-generate
check-generate: ## Fail when the generated code differs from what `make generate` writes
	@fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
	$(TOOL) buf generate proto --template proto/buf.gen.yaml -o "$$fresh/new"; \
	mkdir "$$fresh/old"; \
	(cd proto && find . -name '*.pb.go' -print0 | xargs -0 tar -cf -) | tar -xf - -C "$$fresh/old"; \
	diff -ru "$$fresh/old" "$$fresh/new" || { echo "the generated code is not what make generate writes: run it"; exit 1; }

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (default 20s)
	@grep -rlE '^func Fuzz' --include='*_test.go' . | sort | while read -r file; do \
		for target in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' "$$file"); do \
			echo "== $$target in $$(dirname "$$file")"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")"; \
		done; \
	done

.PHONY: bundles
bundles: build ## Pack each ready-made plugin into a signed bundle that runs as a plugin server (KEY=release.key)
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/turnbuckle-plugin ./cmd/plugin
	.ci/bundles

.PHONY: notice
notice: ## Write NOTICE again from the modules linked into bin/turnbuckle
	.ci/notice >NOTICE.new && mv NOTICE.new NOTICE

.PHONY: clean
clean: ## Remove what the build made
	rm -rf bin
