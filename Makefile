# The commands of the README. Each does its own set-up: on a fresh Debian machine with Rust
# and git, `make test` installs what it needs (scripts/setup.sh says what) and runs.

# PostgreSQL majors to work with; test takes a list: make test PG="15 18"
PG ?= 15
# The PostgreSQL that `make install` and `make package` build for.
PG_CONFIG ?= pg_config
# Where `make test-core` runs: on a server with assertions (--assert), beside pgaudit and others (--beside).
CORE ?=
# How long `make crash` and `make fuzz` run.
SECONDS ?= 60
# Where `make fuzz` begins; a run prints its seed.
SEED ?=
# How many paired rounds `make bench` runs, and how long each measurement takes.
ROUNDS ?= 5
BENCH_SECONDS ?= 4

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help build install test test-core demo bench bench-options bench-grants bench-ingest bench-verify bench-masking fuzz crash package lint clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

build: ## release build, installed in a private PostgreSQL under target/ (PG=15)
	@scripts/install.sh $(PG)

install: ## release build, installed in your PostgreSQL (PG_CONFIG=pg_config)
	@scripts/package.sh install $(PG_CONFIG)

test: ## lint and all tests (PG="15 18" for several versions)
	@scripts/test.sh $(PG)

test-core: ## PostgreSQL's own regression and isolation suites with everybody recorded (CORE="--assert" "--beside")
	@scripts/install.sh $(firstword $(PG))
	@scripts/test-core.sh $(CORE) $(firstword $(PG))

demo: ## what it does, in a minute, on a throwaway server
	@scripts/install.sh $(firstword $(PG))
	@scripts/demo.sh $(firstword $(PG))

bench: ## what it costs, beside no extension and pgaudit (ROUNDS=5 BENCH_SECONDS=4)
	@scripts/install.sh $(firstword $(PG))
	@PGC_ROUNDS=$(ROUNDS) PGC_SECONDS=$(BENCH_SECONDS) scripts/client.sh $(firstword $(PG)) bench --profile dev --bench cost
	@PGC_ROUNDS=$(ROUNDS) scripts/client.sh $(firstword $(PG)) bench --bench identity

bench-options: ## what it costs to be whom, and what leaving things out of the record saves
	@scripts/install.sh $(firstword $(PG))
	@PGC_ROUNDS=$(ROUNDS) PGC_SECONDS=$(BENCH_SECONDS) scripts/client.sh $(firstword $(PG)) bench --profile dev --bench options

bench-grants: ## what a check of grants costs with 10 and with 10,000 on file, and how long access outlives its revocation
	@scripts/install.sh $(firstword $(PG))
	@PGC_ROUNDS=$(ROUNDS) PGC_SECONDS=$(BENCH_SECONDS) scripts/client.sh $(firstword $(PG)) bench --profile dev --bench grants
	@scripts/client.sh $(firstword $(PG)) bench --profile dev --bench endings

bench-ingest: ## what a row of the ledger costs its writer, and how many bytes it takes
	@scripts/install.sh $(firstword $(PG))
	@PGC_ROUNDS=$(ROUNDS) scripts/client.sh $(firstword $(PG)) bench --profile dev --bench ingest

bench-verify: ## how fast the ledger is verified, and how large a proof is (PGC_ROWS=1000000)
	@scripts/install.sh $(firstword $(PG))
	@PGC_ROUNDS=$(ROUNDS) scripts/client.sh $(firstword $(PG)) bench --profile dev --bench verify

bench-masking: ## rows per second masked, revealed and bare, and what masking adds to planning
	@scripts/install.sh $(firstword $(PG))
	@PGC_ROUNDS=$(ROUNDS) scripts/client.sh $(firstword $(PG)) bench --profile dev --bench masking

fuzz: ## random statements against the masks and sqlsmith's (SECONDS=60 SEED=...)
	@scripts/install.sh $(firstword $(PG))
	@$(if $(SEED),PGC_FUZZ_SEED=$(SEED)) PGC_FUZZ_SECONDS=$(SECONDS) scripts/fuzz.sh $(firstword $(PG))

crash: ## kill -9 under load, then compare the ledger with the clients (SECONDS=60)
	@scripts/install.sh $(firstword $(PG))
	@PGC_CRASH_SECONDS=$(SECONDS) scripts/client.sh $(firstword $(PG)) test --test crash -- --nocapture

package: ## files to copy onto a server (PG_CONFIG=pg_config)
	@scripts/package.sh package $(PG_CONFIG)

lint: ## formatting and clippy
	@scripts/lint.sh $(firstword $(PG))

clean: ## removes everything that was built
	rm -rf target
