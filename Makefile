# make build: .venv with the package and its extension; everything else builds first if it must.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip
NATIVE := $(shell find csrc tools -type f -not -name '*.pyc' 2>/dev/null) setup.py
FORMATTED := $(shell find csrc tests benchmarks -name '*.h' -o -name '*.cpp' -o -name '*.inl' -o -name '*.cu' -o -name '*.cuh')

.PHONY: build demo test lint format bench wheel clean

build: .venv/built

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) install -q --upgrade pip
	$(PIP) install -q -c constraints.txt torch "setuptools>=77" wheel ninja
	touch $@

.venv/built: .venv/installed $(NATIVE)
	$(PIP) install -q -c constraints.txt --no-build-isolation -e ".[dev]"
	touch $@

demo: build
	$(BIN)/lsr demo

test: build
	$(BIN)/python -m pytest

lint: build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(FORMATTED)

format: build
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(FORMATTED)

bench: build
	$(BIN)/python benchmarks/loss.py

# With both libraries, for every Python and every torch that pyproject.toml allows.
wheel: build
	LSR_CUDA=1 $(PIP) wheel -q --no-deps --no-build-isolation -w dist .
	$(BIN)/python tools/check_symbols.py dist/*.whl

clean:
	rm -rf .venv build dist *.egg-info lsr_ext/*.so
