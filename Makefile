# make train     creates .venv if needed and trains on the embedded corpus; ARGS="backbone=vgg16 optimizer=sgd" passes settings
# make test      creates .venv if needed and runs the fast tests; ARGS=tests/metrics runs some of them
# make demo      opens a web page for the newest run (trains a small one if there is none); ARGS="run=runs/x"
# make docs      builds the documentation site and opens it in a browser; Ctrl-C stops it
# make check     runs what continuous integration runs
# make coverage  runs the fast tests and lists the lines that none of them runs
# make matrix    runs the fast tests with Python 3.11, 3.12 and 3.13, and with the lowest allowed versions; ARGS=tests/metrics
# make bench     times fervid beside plain code and Keras, in one table (about 50 minutes); ARGS="--only start"
# make papers    runs the four papers' protocols, reduced, on rendered subjects, and their report (about 40 minutes)
.PHONY: setup train demo docs site papers bench test test-all coverage matrix check lint imports format types clean

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
# If this variable is set, every process compiles its imports again, which takes seconds for torch alone. Empty means unset.
export PYTHONDONTWRITEBYTECODE :=

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

# Only the comparison with peers needs Keras, in a separate environment. Without it, the other benchmarks still run.
bench: setup
	@case " $(ARGS)" in \
	*" --keras"*) ;; \
	*peers*) $(MAKE) --no-print-directory .venv-keras/.installed || true ;; \
	*" --only"*) ;; \
	*) $(MAKE) --no-print-directory .venv-keras/.installed || true ;; \
	esac
	$(BIN)/python benchmarks/table.py $(ARGS)

.venv-keras/.installed: benchmarks/keras_requirements.txt
	@echo "setting up .venv-keras, for the comparison with Keras: about a minute"
	$(PYTHON) -m venv .venv-keras
	.venv-keras/bin/python -m pip install --quiet --no-compile --disable-pip-version-check --requirement $< \
		|| { rm -rf .venv-keras; exit 1; }
	@touch $@

test: setup
	$(BIN)/python -m pytest -n 2 -m "not slow" $(ARGS)

test-all: setup
	$(BIN)/python -m pytest -n 2 $(ARGS)

coverage: setup
	$(BIN)/python -m pytest -n 2 -m "not slow" --cov --cov-report=term-missing:skip-covered $(ARGS)

# An environment for each, in .venv-matrix. uv looks for the Python versions on the PATH and downloads those that are missing.
matrix: matrix-3.11 matrix-3.12 matrix-3.13 matrix-lowest

matrix-3.%: setup
	$(BIN)/uv venv --quiet --clear --python 3.$* .venv-matrix/3.$*
	$(BIN)/uv pip install --quiet --python .venv-matrix/3.$* --constraint constraints.txt --editable '.[dev]'
	.venv-matrix/3.$*/bin/python -m pytest -n 2 -m "not slow" $(ARGS)

# Old libraries warn of newer ones that they depend on: here a warning is no failure.
matrix-lowest: setup
	$(BIN)/uv venv --quiet --clear --python 3.11 .venv-matrix/lowest
	$(BIN)/uv pip install --quiet --python .venv-matrix/lowest --resolution lowest-direct --editable '.[dev]'
	.venv-matrix/lowest/bin/python -m pytest -n 2 -W default -m "not slow" $(ARGS)

check: lint imports types site test

# Any warning, such as a broken link, is an error. The variable silences an advertisement of the theme.
site: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs: site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --open

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

imports: setup
	$(BIN)/lint-imports --no-logo

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: setup
	$(BIN)/mypy

clean:
	rm -rf dist site .venv-matrix .coverage .coverage.* .import_linter_cache .pytest_cache .mypy_cache .ruff_cache
