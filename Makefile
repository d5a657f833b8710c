# Everything a developer calls. Each target sets up what it needs, from Python and git alone.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

PYTHON ?=#     the interpreter for .venv; empty: the first of 3.11 to 3.13 on the PATH
RANKS ?= 2#    processes of the demo
WORKERS ?= 2#  processes of the tests
ARGS ?=#       more arguments for pytest, such as ARGS='-k rewards', or overrides for the tables' runs, such as mode=dry
SCALE ?= mini# of the tables: mini, 1_5b or 7b
SEEDS ?= 0#    of the tables: '0 1 2' means over three runs
AT_ONCE ?=#    runs of the tables at the same time; empty: 2 at SCALE=mini, else 1, which has all GPUs
DEMO := runs/demo

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-23s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: install
install: $(STAMP) ## make .venv with budgetrl and its tools, at the versions of constraints.txt

# Printed by the first interpreter that fits: its own path.
SUPPORTED := import sys, ensurepip, venv; (3, 11) <= sys.version_info < (3, 14) and print(sys.executable)

$(STAMP): pyproject.toml constraints.txt
	@candidates="$(or $(PYTHON),python3 python3.13 python3.12 python3.11)"; found=; \
	for candidate in $$candidates; do \
	    found=$$("$$candidate" -c '$(SUPPORTED)' 2>/dev/null || true); \
	    if [ -n "$$found" ]; then break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "No Python 3.11, 3.12 or 3.13 with the venv module among: $$candidates." >&2; \
	    echo "Install one (on Debian also its python3-venv package), or name it: make install PYTHON=<path>" >&2; \
	    exit 1; \
	fi; \
	echo "Installing into $(VENV) with $$found; this takes a few minutes."; \
	"$$found" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

.PHONY: demo
demo: install ## the whole story on the mini model: cold start, GRPO, evaluation, report
	$(BIN)/python -m budgetrl run.dir=$(DEMO) launch.ranks=$(RANKS)
	@echo "The report: $(DEMO)/report.md"

.PHONY: mini-checkpoints
mini-checkpoints: mini-checkpoint mini_tradeoff-checkpoint ## make the shipped mini checkpoints anew (about an hour of one core)

mini_tradeoff-checkpoint: PRETRAIN := stage.steps=5000
mini_tradeoff-checkpoint: COLD_START := stage.steps=300# its base is right less often and writes less: epochs are short

%-checkpoint: install
	$(BIN)/python -m budgetrl stage=pretrain dataset=$* $(PRETRAIN) $(QUIET) run.dir=runs/$*-base
	$(BIN)/python experiments/mini_checkpoints/ship.py runs/$*-base $* base
	$(BIN)/python -m budgetrl stage=cold_start dataset=$* model=$* $(COLD_START) $(QUIET) run.dir=runs/$*-cold-start
	$(BIN)/python experiments/mini_checkpoints/ship.py runs/$*-cold-start $* cold_start
	$(BIN)/python -m budgetrl stage=grpo reward=budget_cosine dataset=$* model=$* $(QUIET) run.dir=runs/$*-trained
	$(BIN)/python experiments/mini_checkpoints/ship.py runs/$*-trained $* trained

QUIET := launch.threads=1 tracking=none

.PHONY: tables
tables: install ## all tables and figures of the paper; SCALE=mini (about 30 minutes of two cores), 1_5b or 7b
	$(MAKE_TABLES)

MAKE_TABLES = $(BIN)/python experiments/tables.py $(filter-out tables,$@) --scale $(SCALE) --seeds $(SEEDS) \
    --at-once $(or $(AT_ONCE),$(if $(filter mini,$(SCALE)),2,1)) --overrides $(ARGS)

.PHONY: table-main
table-main: install ## SelfBudgeter against its initial model and other rewards
	$(MAKE_TABLES)

.PHONY: table-ablation-reward
table-ablation-reward: install ## parts of the reward
	$(MAKE_TABLES)

.PHONY: table-ablation-alpha
table-ablation-alpha: install ## schedules of alpha
	$(MAKE_TABLES)

.PHONY: table-cold-start
table-cold-start: install ## what the cold start is made of
	$(MAKE_TABLES)

.PHONY: table-out-of-domain
table-out-of-domain: install ## problems of another kind
	$(MAKE_TABLES)

.PHONY: figure-budget-by-level
figure-budget-by-level: install ## budgets of easy and of hard problems
	$(MAKE_TABLES)

.PHONY: figure-budget-vs-length
figure-budget-vs-length: install ## whether budgets are kept
	$(MAKE_TABLES)

.PHONY: figure-control
figure-control: install ## lengths at budgets of yours
	$(MAKE_TABLES)

.PHONY: figure-inflation
figure-inflation: install ## budgets in training, with a loose alpha
	$(MAKE_TABLES)

.PHONY: test
test: install ## run the tests; ARGS='-m "not slow"' leaves out the long ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

.PHONY: lint
lint: install ## check style, formatting, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright
	$(BIN)/lint-imports

.PHONY: format
format: install ## let ruff mend style and formatting
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

.PHONY: clean
clean: ## remove caches and build products; runs/ and .venv stay
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
