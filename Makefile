# make build: .venv with the package and its extension; everything else builds first if it must.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip
NATIVE := $(shell find csrc tools -type f -not -name '*.pyc' 2>/dev/null) setup.py
FORMATTED := $(shell find csrc tests benchmarks -name '*.h' -o -name '*.cpp' -o -name '*.inl' -o -name '*.cu' -o -name '*.cuh')

# Of the tests; a file's tests run in one process, as they share what takes long to make.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

.PHONY: build demo test test-all campaign lint format bench wheel clean

build: .venv/built

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) install -q --upgrade pip
	$(PIP) install -q -c constraints.txt torch "setuptools>=77" wheel ninja
	touch $@

.venv/built: .venv/installed $(NATIVE)
	$(PIP) install -q -c constraints.txt --no-build-isolation -e ".[dev]"
	-$(BIN)/python tools/openseadragon.py
	touch $@

demo: build
	$(BIN)/lsr demo

# The short tests, with a hundred random cases each and one CUDA architecture.
test: build
	$(PYTEST)

# `make test`, then what takes long: thousands of random cases, every CUDA architecture, the sanitizers, commands
# killed at random moments, the demonstration, and the examples on ../shared/data where that folder is.
test-all: test
	$(PYTEST) -m "long or hypothesis" --hypothesis-profile=long

# Damaged files, random losses, kills and bad disks, by the thousand; about half an hour.
campaign: build
	PYTHONPATH=tests:tests/campaign:tests/inference $(BIN)/python tests/campaign/run.py

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
	$(BIN)/python tools/openseadragon.py
	LSR_CUDA=1 $(PIP) wheel -q --no-deps --no-build-isolation -w dist .
	$(BIN)/python tools/check_symbols.py dist/*.whl

clean:
	rm -rf .venv build dist *.egg-info lsr_ext/*.so
