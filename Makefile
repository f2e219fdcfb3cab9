# `make demo` trains LeNet-5 on MNIST, `make test` runs the whole test suite.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# On Linux MLX's CPU backend is a package of its own; on macOS it comes with MLX.
ifeq ($(shell uname -s),Darwin)
    BACKEND :=
else
    BACKEND := cpu,
endif

.DEFAULT_GOAL := help
.PHONY: help demo test check docs bench clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(VENV)/made: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
	    "lucid_fn needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[$(BACKEND)examples,dev]'
	touch $@

demo: $(VENV)/made  ## train LeNet-5 on MNIST: out/lenet/history.json and curves.png
	$(BIN)/python examples/lenet_mnist.py --out out/lenet

test: $(VENV)/made  ## run the whole test suite
	$(BIN)/python -m pytest -n 2

check: $(VENV)/made  ## lint, check formatting, types and import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/made  ## write docs/api from the docstrings
	$(BIN)/python -m docs.generate_api

bench: $(VENV)/made  ## compare with PyTorch, jax and mlx.nn (minutes; not in CI)
	env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(BIN)/python -m tests.benchmarks

clean:  ## remove the environment and what the examples wrote
	rm -rf $(VENV) out
