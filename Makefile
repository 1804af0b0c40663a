# Thin: every target is a script, which says what it does. Settings are variables: make run LISTEN=127.0.0.1:9090

STATE   ?= ./.bulut
LISTEN  ?= 127.0.0.1:8080
IMAGE   ?= debian-12-x64
GUESTS  ?=
PROFILE ?= quick
export STATE LISTEN IMAGE GUESTS PROFILE

.PHONY: help run up down test check bench clean-state

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  STATE=$(STATE)  LISTEN=$(LISTEN)  IMAGE=$(IMAGE) (or tiny)  PROFILE=$(PROFILE)  GUESTS=stop (with down)"

run: ## a cloud in the foreground, with a first server that answers ssh
	@scripts/run.sh foreground

up: ## the same in the background
	@scripts/run.sh background

down: ## ends what `up` started; guests keep running unless GUESTS=stop
	@scripts/down.sh

test: ## set-up and every test
	@scripts/test.sh

check: ## format, lints, documentation, licences
	@scripts/check.sh

bench: ## the benchmarks
	@scripts/bench.sh

clean-state: ## destroys the servers of STATE, then STATE itself
	@scripts/clean-state.sh
