# `make demo` and `make test` are all a newcomer types: each installs what it needs into .venv first.
# TORCH_INDEX=URL takes PyTorch from that package index, for example the one of its CPU builds (0.2 GB instead of 2.7 GB).
TORCH_INDEX ?=
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install demo test test-all check format wheel clean

install: $(STAMP)

$(STAMP): pyproject.toml requirements-sam2.txt cluster/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip setuptools wheel
	$(if $(TORCH_INDEX),$(BIN)/pip install --quiet --index-url $(TORCH_INDEX) $$(grep '^torch==' cluster/constraints.txt))
	$(BIN)/pip install --quiet --constraint cluster/constraints.txt --editable '.[dev]'
	# sam2 declares torchvision, which its video path never imports and which must not stand beside a CPU torch.
	SAM2_BUILD_CUDA=0 $(BIN)/pip install --quiet --no-deps --no-build-isolation --require-hashes -r requirements-sam2.txt
	@touch $@

demo: install
	$(BIN)/sa2va-i demo

test: install check
	$(BIN)/python -m pytest -m "not golden and not slow and not gpu" --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-all: install check
	$(BIN)/python -m pytest -m "not gpu"

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: install
	rm -rf build
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean:
	rm -rf $(VENV) demo-output build dist
