# Stormwatch. `make sla` runs the main job, `make test` the tests; each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup sla test quick watch scenarios validate sdks lint types audit bench lock clean

help: ## what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | sort

setup: $(READY) ## the virtual environment and Toxiproxy

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, $(PYTHON) is %s: make PYTHON=python3.11 ..." % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m harness.stack
	@touch $@

sla: $(READY) ## load and failures on the local stack, then the report and the gate
	$(BIN)/stormwatch run --local

test: $(READY) ## unit and integration tests
	$(BIN)/pytest -n 3

quick: $(READY) ## tests that start no process and are not slow
	$(BIN)/pytest -q -n 2 -m quick

watch: $(READY) ## at every change: the test files that differ from the last commit, else the quick ones
	@while true; do touch $(VENV)/.watched; \
		changed=$$({ git diff --name-only --diff-filter=d HEAD; git ls-files --others --exclude-standard; } | grep -E '/test_[a-z_]+\.py$$'); \
		$(BIN)/pytest -q -x $${changed:--m quick}; \
		until find harness service fixtures scenarios -name '*.py' -newer $(VENV)/.watched | grep -q .; do sleep 1; done; \
	done

scenarios: $(READY) ## the failure scenarios alone
	$(BIN)/pytest scenarios/failure

sdks: $(READY) ## the emulator against the SDKs for JavaScript, Java, Go and Ruby, which it fetches
	$(BIN)/python -m fixtures.pubnub_emulator.tests.sdks.fetch
	$(BIN)/pytest -rs fixtures/pubnub_emulator/tests/test_pubnub_sdks.py

validate: $(READY) ## defective services: which of them are caught, and as what
	$(BIN)/stormwatch validate --summary harness/validate/README.md

lint: $(READY) ## ruff: lint and format; what CI is told
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	.ci/workflows

types: $(READY) ## mypy, strict
	$(BIN)/mypy

audit: $(READY) ## known vulnerabilities, dangerous code, faults in workflows
	.ci/audit

bench: $(READY) ## speed and memory, as ratios measured side by side; and whether what is reported is true
	$(BIN)/python -m fixtures.bench.service
	$(BIN)/python -m fixtures.bench.pubnub_emulator
	$(BIN)/python -m fixtures.bench.history
	$(BIN)/python -m fixtures.bench.players
	$(BIN)/stormwatch calibrate

lock: ## pin the dependencies again (needs uv)
	uv pip compile pyproject.toml --quiet --extra otlp --group dev --generate-hashes --universal --python-version 3.11 \
		--no-emit-package stormwatch --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" --output-file requirements.txt

clean: ## the virtual environment and the caches of the tools
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
