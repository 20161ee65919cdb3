# plimsoll: `make paper` runs the main job, `make test` proves that it works.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FUZZER := $(VENV)/.fuzzer
MUTATOR := $(VENV)/.mutator
UVENV := .uv
# uv from the PATH where there is one; otherwise one in a private environment, which works where the
# system's Python is externally managed as well.
UV := $(shell command -v uv 2>/dev/null || echo $(UVENV)/bin/uv)
PYTHON ?= python3.11
# What `make torch` installs. By pip, which takes a build for the processor alone where the index offers one.
TORCH ?= torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 nvidia-ml-py==13.615.71
# The machine's own certificates, for networks that have an authority of their own.
export UV_SYSTEM_CERTS ?= true
# The tests start hundreds of processes; without compiled files each would compile every package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup torch paper test lint lock simulate kill-switch fuzz mutants bench clean

help: ## Show this help
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(UVENV)/bin/uv:
	@echo "getting uv into $(UVENV)"
	@{ python3 -m venv $(UVENV) && $(UVENV)/bin/python -m pip install --quiet --disable-pip-version-check uv; } 2>/dev/null \
		|| { rm -rf $(UVENV); python3 -m pip install --quiet --disable-pip-version-check --target $(UVENV) uv; } \
		|| { echo "cannot get uv: install python3-venv, python3-pip or uv itself" >&2; exit 1; }

$(STAMP): requirements.lock pyproject.toml $(filter $(UVENV)/bin/uv,$(UV))
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV) 2>/dev/null || $(UV) venv --quiet --allow-existing --python '>=3.11' $(VENV)
	@$(UV) pip sync --quiet --require-hashes --python $(BIN)/python requirements.lock
	@echo "$(CURDIR)" > $$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])')/plimsoll.pth
	@printf '#!%s\nimport sys\nfrom daemon.cli import main\nsys.exit(main())\n' "$(CURDIR)/$(BIN)/python" > $(BIN)/plimsoll && chmod +x $(BIN)/plimsoll
	@touch $@

setup: $(STAMP) ## Make .venv from the hash-locked requirements.lock

torch: setup ## Add PyTorch, with which tcn, gru and temporal_unet are trained (nothing else needs it)
	@python3 -m pip --python $(BIN)/python install --quiet --disable-pip-version-check $(TORCH)

paper: setup ## Run a paper trading day on real prices
	@$(BIN)/plimsoll paper

$(FUZZER): $(STAMP) tests/fuzz/requirements.lock
	@$(UV) pip install --quiet --require-hashes --only-binary :all: --python $(BIN)/python -r tests/fuzz/requirements.lock 2>/dev/null \
		|| echo "no atheris for this machine (it has wheels for Linux on x86-64 with glibc): coverage-guided fuzzing is left out"
	@touch $@

test: setup $(FUZZER) ## Run every linter, type check, import contract and test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/pyright --warnings
	@$(BIN)/lint-imports
	@$(BIN)/pytest -q -n 2 --dist loadgroup

lint: setup ## Linters and types alone
	@$(BIN)/ruff check . && $(BIN)/ruff format --check --quiet . && $(BIN)/pyright --warnings && $(BIN)/lint-imports

lock: ## Resolve requirements.lock anew (hashes, no index hosts)
	@$(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--custom-compile-command "make lock" --extra dev --extra sample --quiet pyproject.toml -o requirements.lock
	@$(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--custom-compile-command "make lock" --group fuzz --quiet -o tests/fuzz/requirements.lock
	@$(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--custom-compile-command "make lock" --group mutation --quiet -c requirements.lock -o tests/mutation/requirements.lock

simulate: setup ## Run many seeded disasters: make simulate SEEDS=5000
	@PLIMSOLL_SEEDS=$(or $(SEEDS),2000) $(BIN)/pytest -q -n 2 --timeout 0 tests/simulation/test_disasters.py tests/simulation/test_sea.py

kill-switch: setup ## The kill switch from every state by every trigger: make kill-switch SEEDS=50
	@PLIMSOLL_FIGURES=1 PLIMSOLL_SEEDS=$(or $(SEEDS),50) $(BIN)/pytest -q -n 2 --timeout 0 tests/simulation/test_kill_switch.py

fuzz: setup $(FUZZER) ## Fuzz what talks to cTrader, guided by coverage: make fuzz SECONDS=600
	@$(BIN)/python tests/fuzz/fuzz_ctrader.py -max_total_time=$(or $(SECONDS),60)

$(MUTATOR): $(STAMP) tests/mutation/requirements.lock
	@$(UV) pip install --quiet --require-hashes --python $(BIN)/python -r tests/mutation/requirements.lock
	@touch $@

mutants: setup $(MUTATOR) ## Break risk/ in every small way and see that tests notice: make mutants ONLY='risk.gate*'
	@$(BIN)/python -m mutmut run $(if $(ONLY),'$(ONLY)')
	@$(BIN)/python tests/mutation/score.py

bench: setup ## Measure this machine; one JSON line each
	@for f in bench/bench_*.py; do $(BIN)/python $$f || exit 1; done

clean: ## Remove the environment and caches
	@rm -rf $(VENV) $(UVENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache
