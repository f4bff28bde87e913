# Gaoler's verbs. Each installs what it misses, asks nothing, and can be repeated.
#   make run     host a real MCP server in a jail and print its URL
#   make test    build the product and run every test (about 20 minutes from nothing on 2 cores)
#   make check   formatting, lints and unit tests: what to run before a commit
#   make bench   measure against the peers and write docs/benchmarks.md

SHELL := /bin/bash
export PATH := $(PATH):$(HOME)/.cargo/bin
CARGO := cargo

.PHONY: run test check bench fmt build system parties
.NOTPARALLEL:

run: build parties
	tests/tools/demo

test: build parties
	tests/tools/run-tests

check: system
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) test --locked --workspace --exclude gaoler-tests

bench: build parties
	$(CARGO) run --locked --release -p gaoler-bench --bin bench

fmt:
	$(CARGO) fmt --all

# The product as it is shipped and tested: gaoler, gaoler-front and gaoler-jail-exec, static.
build: system
	$(CARGO) build --locked --release

system:
	tests/tools/system-packages

parties: system
	tests/tools/parties
