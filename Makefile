# It runs with GNU make 3.81 too, which is that of macOS, and with the tools of BSD.
# `make demo` trains LeNet-5 on MNIST, `make test` runs the whole test suite.
# `make test PYTHON=python3.13` does so with that Python, in an environment of its own.
PYTHON ?= python3
VENV := .venv$(patsubst %,-%,$(notdir $(filter-out python3,$(PYTHON))))
BIN := $(VENV)/bin

# On Linux MLX's CPU backend is a package of its own; on macOS it comes with MLX.
ifeq ($(shell uname -s),Darwin)
    BACKEND :=
else
    BACKEND := cpu,
endif

.DEFAULT_GOAL := help
.PHONY: help demo torch test test-plain test-faults selftest test-oldest fix check site bench release clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/made: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
	    "lucid_fn needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[$(BACKEND)examples,dev,docs]'
	touch $@

demo: $(VENV)/made  ## train LeNet-5 on MNIST: out/lenet/history.json and curves.png
	$(BIN)/python examples/lenet_mnist.py --out out/lenet

torch: $(VENV)/made  ## install PyTorch, which the parity tests compare with
	$(BIN)/python -m pip install --quiet torch==2.13.0

test: $(VENV)/made  ## run the whole test suite
	$(BIN)/python -m pytest -n 2

test-plain: $(VENV)/made  ## run the laws on the formulations that GPUs use
	LUCID_FN_OPS=plain $(BIN)/python -m pytest -n 2 tests/property tests/parity

selftest: $(VENV)/made  ## compare what this machine's GPU computes with the CPU
	$(BIN)/python -m lucid_fn doctor --selftest

# The oldest versions that pyproject.toml admits, in an environment of its own.
test-oldest:  ## run the tests with the oldest supported versions
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --upgrade pip uv
	.venv-oldest/bin/uv pip install --quiet --python .venv-oldest \
	    --resolution lowest-direct --editable '.[$(BACKEND)examples,dev]'
	.venv-oldest/bin/python -m pytest -n 2 tests/unit tests/property lucid_fn

test-faults: $(VENV)/made  ## kill processes of a group at random, and sum 20,000 times (minutes)
	$(BIN)/python -m tests.faults kills
	$(BIN)/python -m tests.faults sums

fix: $(VENV)/made  ## sort imports, format, and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: $(VENV)/made  ## lint, check formatting, types and import layers: all of them, then fail
	@failed=; \
	for tool in "ruff check ." "ruff format --check ." mypy lint-imports; do \
	    echo "$$tool"; $(BIN)/$$tool || failed="$$failed$${failed:+, }$$tool"; \
	done; \
	if [ -n "$$failed" ]; then echo "failed: $$failed"; exit 1; fi

site: $(VENV)/made  ## build the documentation site: docs/_build/html
	rm -rf docs/_build docs/api/generated
	$(BIN)/python -m sphinx -W --keep-going -j auto -q -b html docs docs/_build/html

bench: $(VENV)/made  ## compare with PyTorch, jax and mlx.nn (minutes; not in CI)
	env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(BIN)/python -m tests.benchmarks

# What is published is what is tested: the quickstart runs from the installed wheel.
release: $(VENV)/made  ## build dist/: sdist and wheel, checked and tried in an empty environment
	rm -rf dist .venv-wheel
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m twine check --strict dist/*
	$(PYTHON) -m venv .venv-wheel
	wheel=$$(echo dist/*.whl) && \
	    .venv-wheel/bin/python -m pip install --quiet "$$wheel[$(BACKEND)examples]"
	cd dist && ../.venv-wheel/bin/python ../tests/e2e/run_page.py ../docs/quickstart.md
	cd dist && ../.venv-wheel/bin/python -m lucid_fn doctor

clean:  ## remove the environments and what the examples wrote
	rm -rf .venv .venv-* dist out
