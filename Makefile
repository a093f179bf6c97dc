# Two commands on a fresh machine: `make demo` and `make test`. Each makes its own environment.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Of an environment with another triton, for its kernel table.
TABLE_PYTHON ?= $(BIN)/python
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)

# uv when it is there (twice as fast), else pip; both obey the same constraints.
INSTALL := $(if $(shell command -v uv),uv pip install -q --python $(BIN)/python,$(BIN)/python -m pip install -q --disable-pip-version-check)

# One BLAS thread for each test worker: two workers with two threads each wait for one another.
ONE_THREAD := OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

# Files that the tests write durably wait for the disk, which memory does not. Where it has 4 GB free
# (so neither in a container with the usual 64 MB, nor on macOS) they lie there, and go with the run.
IN_MEMORY = $(shell [ -w /dev/shm ] && df -Pk /dev/shm | awk 'NR == 2 && $$4 > 4000000 {print "/dev/shm"}')

.PHONY: help demo test lint format bench growth bench-gpu kernel-table site notebooks figures clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

demo: $(VENV)/.demo  ## pretrain a GPT and SimCLR on data that is already here; writes runs/demo/report.html
	$(BIN)/python -m minissl demo

# Hundreds of processes start in the tests: each would compile the library again without bytecode.
test: $(VENV)/.test  ## all tests, with the oracle libraries, on every core
	@memory=$(IN_MEMORY); \
	if [ -n "$$memory" ] && scratch=$$(mktemp -d "$$memory/minissl.XXXXXX"); then \
	  trap 'rm -rf "$$scratch"' EXIT; trap 'exit 1' HUP INT TERM; export PYTEST_DEBUG_TEMPROOT="$$scratch"; \
	fi; \
	$(ONE_THREAD) PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --dist worksteal

site: $(VENV)/.docs  ## the course as a website in build/site; DRAFT=1 is quick and forgives warnings
	$(ONE_THREAD) $(BIN)/python -m docs.site $(if $(DRAFT),--draft)

notebooks: $(VENV)/.docs  ## write the .ipynb beside each notebooks/*.py; EXECUTED=1 also runs them, for notebooks/executed
	$(BIN)/python -m docs.site.notebooks $(if $(EXECUTED),--executed)

figures: $(VENV)/.docs  ## draw the figures of the lectures again
	$(BIN)/python lectures/figures

lint: $(VENV)/.dev  ## ruff and mypy
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy || \
	  { echo "lint: 'make format' mends the form and the order of imports; the rest is yours"; exit 1; }

format: $(VENV)/.dev  ## ruff's formatter
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench: $(VENV)/.test  ## every benchmark, side by side with its peers; a quarter of an hour on an idle machine
	for name in gpt_step encoder_step adaptation_step simclr_step images_steps losses lstm_step sampling tokenizer wordpiece masking word_vectors processes shakespeare; do $(BIN)/python -m benchmarks.$$name || exit 1; done

growth: $(VENV)/.test  ## slopes of time and memory against size, beside their formulas; about ten minutes
	$(BIN)/python -m benchmarks.growth

bench-gpu: $(VENV)/.test  ## on a GPU, ten minutes: kernels checked, tests, headline rows beside peers; again goes on
	$(BIN)/python -m benchmarks.gpu_day --results runs/gpu_day

kernel-table: $(VENV)/.test  ## compile every kernel for A100, H100, MI300X; rewrites tests/kernels/compiled.*
	PYTHONPATH=.:kernels $(TABLE_PYTHON) -m tests.kernels.compile_harness --table tests/kernels

clean:  ## forget the environment, the runs and the site
	rm -rf $(VENV) runs build

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "minissl needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "could not make a virtual environment: on Debian or Ubuntu, apt install python3-venv"; exit 1; }

$(VENV)/.demo $(VENV)/.docs $(VENV)/.test $(VENV)/.dev: $(VENV)/.%: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing what '$*' needs into $(VENV) ..."
	@$(INSTALL) -c constraints.txt -e ".[$*]"
	@touch $@
