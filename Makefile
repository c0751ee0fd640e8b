# The front door: `make demo`, `make test`, `make lab`. Needs Python 3.11 to 3.13 and make.

PYTHON ?= python3
PY := .venv/bin/python
READY := .venv/.ready
PIP := $(PY) -m pip --quiet --disable-pip-version-check

# In a folder that was moved, the launchers of .venv point to the old place: install again.
ifneq ($(shell cat $(READY) 2>/dev/null),$(CURDIR))
$(shell rm -f $(READY))
endif

# Tests and notebooks see no network, no settings of the user who runs them, and keep no progress.
CUT := PYTHONPATH="$(CURDIR)/tests/network_cut" IPYTHONDIR="$(CURDIR)/.venv/ipython" \
	JUPYTER_CONFIG_DIR="$(CURDIR)/.venv/jupyter" MPLCONFIGDIR="$(CURDIR)/.venv/matplotlib" \
	ALIGN_EDU_PROGRESS="" ALIGN_EDU_RUNS=""

# Processes that test side by side, each with one thread and up to 3 GB: make test WORKERS=4
WORKERS ?= 2

.PHONY: help setup demo test test-long lint format lab notebooks site clean
.DEFAULT_GOAL := help

help:
	@echo "make demo       the main job in about 8 minutes: noisy pairs, filters, training, search; into runs/demo"
	@echo "make test       style, types, tests, and every notebook, with the network cut; about 12 minutes"
	@echo "make test-long  the tests that take longest: 200 submissions, notebooks filled in, ten kills"
	@echo "make lab        open the course in JupyterLab"
	@echo "make site       the course as pages to read, with a page that searches: open site/index.html"
	@echo "make setup      only build .venv; the others do it too where it is missing or stale"
	@echo "make notebooks  run the notebooks and store their outputs (only one: ONLY=notebooks/NAME.ipynb)"
	@echo "make lint       style and types; make format mends the style"
	@echo "make clean      remove caches (.venv and runs stay)"

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@rm -f $@
	@$(PIP) --version >/dev/null 2>&1 || { \
		$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
			echo "$(PYTHON) is not a Python 3.11 to 3.13; name one, as in: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }; \
		$(PYTHON) -c 'import ensurepip, venv' || { \
			echo "$(PYTHON) cannot build .venv; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }; \
		echo "Building .venv with the versions of requirements.lock: once, about 5 minutes, 8 GB of disk."; \
		$(PYTHON) -m venv --clear .venv; }
	@$(PIP) install --no-deps --no-compile --requirement requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --force-reinstall --editable .
	@printf '%s' "$(CURDIR)" > $@
	@echo ".venv is ready."

demo: setup
	.venv/bin/align-edu demo --out runs/demo

# COVERAGE=1 measures which lines the tests run; it costs a quarter of their time.
COV := $(if $(COVERAGE),--cov=align_edu --cov-append --cov-report= --cov-fail-under=0)
PYTEST := $(CUT) OMP_NUM_THREADS=1 $(PY) -m pytest --nbval --nbval-current-env \
	--nbval-cell-timeout=120 --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder \
	--durations=20 -rs $(COV)

test: lint
	$(PYTEST) tests align_edu notebooks -m "not long"

test-long: setup
	ALIGN_EDU_LONG=1 $(PYTEST) tests -m "long or longer"

lint: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: setup
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

lab: setup
	$(PY) -m align_edu.lab

notebooks: setup
	$(CUT) $(PY) -m align_edu.lab --store-outputs $(ONLY)

site: setup
	$(CUT) $(PY) notebooks/site/build.py site
	@echo "The site is ready: open site/index.html, or site/try/index.html to search."

clean:
	rm -rf build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage .coverage.*
	find . \( -path ./.venv -o -path ./runs \) -prune -o \
		\( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -prune -exec rm -rf {} +
