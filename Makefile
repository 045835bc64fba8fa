# Everything that is done with a checkout; `make help` lists it.

SHELL := /bin/bash
PYTHON := .venv/bin/python
BUILD := .build
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

.PHONY: help setup demo test unit lint lab integration lab-test molecule e2e day-two interop
.PHONY: bench chaos moves
.PHONY: wheel picture lock clean distclean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(BUILD)/setup.stamp ## what the control node needs (the others call it)

$(BUILD)/setup.stamp: requirements/control.lock requirements/machine.txt tools/setup
	@tools/setup
	@mkdir -p $(BUILD) && touch $@

demo: setup ## a whole grid on lab hosts of this machine, with a few jobs
	@$(PYTHON) tools/demo

test: setup ## all tests but moves and chaos; nothing it made is left behind
	@tools/test lint unit integration lab-test molecule e2e day-two interop

unit: setup ## the pure core: no root, under a minute
	@$(PYTHON) -m pytest -q tests/unit

lint: setup ## ruff, mypy strict, ansible-lint, collection archive
	@tools/lint

lab: setup ## lab hosts alone (LAB=name, LAB_HOSTS="head alpha=3 beta=2")
	@$(PYTHON) -m lab up

integration: setup ## real daemons on loopback
	@$(PYTHON) -m pytest -q tests/integration

lab-test: setup ## the lab, and the node daemon on a host of it
	@$(PYTHON) -m pytest -q tests/lab tests/lab_node

molecule: setup ## the rollout, scenario by scenario
	@tools/molecule

e2e: setup ## a whole grid: jobs, migration, faults, users, the page in a browser
	@$(PYTHON) -m pytest -q -m "not long" tests/e2e

moves: setup ## every kind of program moved ten times, every fault and refusal of a move
	@$(PYTHON) -m pytest -q -m long tests/e2e

day-two: setup ## upgrade from an older release, backup and restore, with jobs running
	@$(PYTHON) -m pytest -q tests/day_two

interop: setup ## beside the real Ganglia programs
	@$(PYTHON) -m pytest -q tests/interop

bench: setup ## measurements beside a peer (NAME=rollout, monitoring, ...)
	@$(PYTHON) -m bench $(NAME)

chaos: setup ## random faults over six hosts with 2,000 jobs (KCMS_CHAOS_SEED=, KCMS_CHAOS_JOBS=)
	@$(PYTHON) -m pytest -q -s tests/chaos

wheel: ## the command kcms for a laptop, to be installed by pip
	@python3 tools/wheel .

picture: setup ## docs/page.png anew, from the grid of `make demo`
	@$(PYTHON) tools/picture

lock: ## resolve requirements/control.in anew
	@.venv/bin/pip install -q uv
	@.venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --quiet \
	  --no-emit-index-url --no-header --no-annotate requirements/control.in -o requirements/control.lock

clean: ## remove the lab hosts of every lab, mounts, bridges and build files
	@if [ -d /var/lib/kcms-lab ]; then python3 -m lab destroy-all; fi
	@rm -rf .venv $(BUILD) .mypy_cache .ruff_cache .pytest_cache .ansible .hypothesis
	@rm -rf kcms-cluster-*.tar.gz kcms-*.whl
	@find . -name __pycache__ -not -path './collections/*' -prune -exec rm -rf {} +

distclean: clean ## that, and the cached roots and bundles of the lab
	@python3 -m lab root drop
	@rm -rf ~/.cache/kcms
