.DEFAULT_GOAL := help
# Tests also wait, so more of them than there are cores run at a time.
WORKERS ?= $(shell expr $$(nproc) + 2)
# Without bytecode of the tests, each of the processes would compile all of them.
PYTEST := PYTHONDONTWRITEBYTECODE= .venv/bin/python -m pytest
.PHONY: help run test lint audit torture soak bench migration pins clean

help: ## Show the targets.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Start the server on http://127.0.0.1:3000 with an example; sets up what is missing.
	@scripts/venv.sh && exec .venv/bin/python -m scripts.run

test: ## Lint and run all tests, real Docker and databases included.
	@scripts/venv.sh dev
	@.venv/bin/python -m scripts.test_needs
	@mkdir -p .cache
	@$(MAKE) --no-print-directory lint >.cache/lint.log 2>&1 & lint=$$!; \
	  $(PYTEST) --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder; tests=$$?; \
	  if [ $$tests = 1 ] && [ "$$(grep -c :: .pytest_cache/v/cache/lastfailed)" -le 6 ]; then \
	    echo "They run again, alone. One that passes now is flaky: find out why."; \
	    $(PYTEST) --last-failed; tests=$$?; \
	  fi; \
	  wait $$lint; linted=$$?; cat .cache/lint.log; exit $$((tests ? tests : linted))

lint: ## Check style, types and which room imports which.
	@scripts/venv.sh dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/pyright --pythonpath .venv/bin/python
	.venv/bin/lint-imports --no-logo

audit: ## Ask a public service whether a pinned version has a known vulnerability.
	@scripts/venv.sh dev
	@.venv/bin/python -m scripts.audit

torture: ## Break things on purpose for an hour: 200 kills, 1,000 followers, 10,000 races and requests.
	@scripts/venv.sh dev
	@.venv/bin/python -m scripts.test_needs
	TORTURE_KILLS=200 TORTURE_FOLLOWERS=1000 TORTURE_RACES=10000 TORTURE_CASES=10000 \
	TORTURE_DELIVERIES=1000 TORTURE_DELIVERY_KILLS=20 TORTURE_ADOPTIONS=1000 TORTURE_DATABASES=50 \
	TORTURE_LINK_DOWN=30 TORTURE_BUILDS=9 \
	  .venv/bin/python -m pytest -s tests/faults tests/api/test_schemathesis.py tests/api/test_hostile_requests.py \
	  tests/integration/test_full_disk.py tests/integration/test_engine_outages.py \
	  tests/integration/test_delivery_bursts.py tests/integration/test_swarm_builds.py tests/integration/test_services.py

soak: ## Run everything at once for MINUTES (60), and report what the server takes.
	@scripts/venv.sh dev
	@.venv/bin/python -m scripts.test_needs
	.venv/bin/python -m tests.faults.soak $(MINUTES)

bench: ## Measure what the server must reach.
	@scripts/venv.sh dev
	@.venv/bin/python -m scripts.test_needs
	.venv/bin/python -m bench

migration: ## Make a migration from changed models: make migration NAME=what_changes
	@test -n "$(NAME)" || { echo "Name it: make migration NAME=what_changes"; exit 1; }
	@scripts/venv.sh dev
	.venv/bin/tortoise makemigrations --name "$(NAME)"

pins: ## Pin the newest versions that pyproject.toml allows.
	@scripts/pin.sh

clean: ## Remove what was made, .venv included. Builds and logs in .data stay.
	rm -rf .venv .cache dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
