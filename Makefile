# Commands for developers. Each target installs what it needs; only Python and git must be there.
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
ARGS ?=#       further arguments for pytest, such as ARGS='-k rewards', or overrides for the tables' runs, such as mode=dry
SCALE ?= mini# scale of the tables: mini, 1_5b or 7b
SEEDS ?= 0#    seeds of the tables; '0 1 2' gives means over three runs
AT_ONCE ?=#    runs of the tables at the same time; empty: 2 at SCALE=mini, otherwise 1, which has all GPUs
DEMO := runs/demo

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-23s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: install
install: $(STAMP) ## create .venv with budgetrl and its tools, at the versions in constraints.txt

# Prints the path of the running interpreter if its version is supported and it can create virtual environments.
SUPPORTED := import sys, ensurepip, venv; (3, 11) <= sys.version_info < (3, 14) and print(sys.executable)

$(STAMP): pyproject.toml constraints.txt
	@candidates="$(or $(PYTHON),python3 python3.13 python3.12 python3.11)"; found=; \
	for candidate in $$candidates; do \
	    found=$$("$$candidate" -c '$(SUPPORTED)' 2>/dev/null || true); \
	    if [ -n "$$found" ]; then break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "Found no Python 3.11, 3.12 or 3.13 with the venv module among: $$candidates." >&2; \
	    echo "Install one (on Debian also its python3-venv package), or set its path: make install PYTHON=<path>" >&2; \
	    exit 1; \
	fi; \
	echo "Installing into $(VENV) with $$found; this takes a few minutes."; \
	"$$found" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

.PHONY: demo
demo: install ## run the whole pipeline on the mini model: cold start, GRPO, evaluation, report
	$(BIN)/python -m budgetrl run.dir=$(DEMO) launch.ranks=$(RANKS)
	@echo "Report: $(DEMO)/report.md"

.PHONY: mini-checkpoints
mini-checkpoints: mini-checkpoint mini_tradeoff-checkpoint ## rebuild the included mini checkpoints (about an hour on one core)

mini_tradeoff-checkpoint: PRETRAIN := stage.steps=5000
mini_tradeoff-checkpoint: COLD_START := stage.steps=300# its base model is right less often and writes less, so the default number of epochs has too few steps

%-checkpoint: install
	$(BIN)/python -m budgetrl stage=pretrain dataset=$* $(PRETRAIN) $(QUIET) run.dir=runs/$*-base
	$(BIN)/python experiments/mini_checkpoints/ship.py runs/$*-base $* base
	$(BIN)/python -m budgetrl stage=cold_start dataset=$* model=$* $(COLD_START) $(QUIET) run.dir=runs/$*-cold-start
	$(BIN)/python experiments/mini_checkpoints/ship.py runs/$*-cold-start $* cold_start
	$(BIN)/python -m budgetrl stage=grpo reward=budget_cosine dataset=$* model=$* $(QUIET) run.dir=runs/$*-trained
	$(BIN)/python experiments/mini_checkpoints/ship.py runs/$*-trained $* trained

QUIET := launch.threads=1 tracking=none

.PHONY: tables
tables: install ## all tables and figures of the paper; SCALE=mini (about 30 minutes on two cores), 1_5b or 7b
	$(MAKE_TABLES)

MAKE_TABLES = $(BIN)/python experiments/tables.py $(filter-out tables,$@) --scale $(SCALE) --seeds $(SEEDS) \
    --at-once $(or $(AT_ONCE),$(if $(filter mini,$(SCALE)),2,1)) --overrides $(ARGS)

.PHONY: table-main
table-main: install ## table: SelfBudgeter, its initial model and other rewards
	$(MAKE_TABLES)

.PHONY: table-ablation-reward
table-ablation-reward: install ## table: the reward without some of its parts
	$(MAKE_TABLES)

.PHONY: table-ablation-alpha
table-ablation-alpha: install ## table: schedules of alpha
	$(MAKE_TABLES)

.PHONY: table-cold-start
table-cold-start: install ## table: data of the cold start
	$(MAKE_TABLES)

.PHONY: table-out-of-domain
table-out-of-domain: install ## table: problems of a kind that was not trained on
	$(MAKE_TABLES)

.PHONY: figure-budget-by-level
figure-budget-by-level: install ## figure: budgets of easy and of hard problems
	$(MAKE_TABLES)

.PHONY: figure-budget-vs-length
figure-budget-vs-length: install ## figure: lengths against the budgets that the model wrote
	$(MAKE_TABLES)

.PHONY: figure-control
figure-control: install ## figure: lengths at budgets that the user wrote
	$(MAKE_TABLES)

.PHONY: figure-inflation
figure-inflation: install ## figure: budgets during training, with a loose alpha
	$(MAKE_TABLES)

.PHONY: test
test: install ## run the tests; ARGS='-m "not slow"' leaves out the slow ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

.PHONY: lint
lint: install ## check style, spelling, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell src conf docs experiments tests notebooks README.md CONTRIBUTING.md Makefile
	$(BIN)/basedpyright
	$(BIN)/lint-imports

.PHONY: format
format: install ## let ruff fix style and formatting
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

.PHONY: clean
clean: ## remove caches and build products, but not runs/ and .venv
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
