# make train   sets everything up and trains on the embedded corpus
# make test    sets everything up and passes the tests
# make train ARGS="backbone=vgg16 optimizer=sgd" passes settings on
# make demo    opens the page of the newest run, of a small one trained now if there is none; ARGS="run=runs/x"
# make papers  the four papers' protocols, reduced, on rendered people, and the report on them (about 40 minutes)
.PHONY: setup train demo papers test test-all check lint format types clean

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "setting up $(VENV): about 3 minutes and 7 GB, most of it torch"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

train: setup
	$(BIN)/python -m fervid.train $(ARGS)

demo: setup
	@case " $(ARGS)" in \
	*" run="*) ;; \
	*) find runs -path '*/checkpoints/best.ckpt' 2>/dev/null | grep -q . || $(BIN)/python -m fervid.train ;; \
	esac
	$(BIN)/python -m fervid.demo $(ARGS)

papers: setup
	$(BIN)/python benchmarks/papers.py $(ARGS)

test: setup
	$(BIN)/python -m pytest -n 2 -m "not slow" $(ARGS)

test-all: setup
	$(BIN)/python -m pytest -n 2 $(ARGS)

check: lint types test

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: setup
	$(BIN)/mypy

clean:
	rm -rf dist .pytest_cache .mypy_cache .ruff_cache
