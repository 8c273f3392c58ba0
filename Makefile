# Postroom's commands. `make` alone lists them.
# A fresh machine needs make and Python 3.11 or newer; everything else goes into .venv.

PYTHON ?= python3
# What `make chaos` does: a scenario and its options.
PART ?=
# Passed on to pytest by `make test`, e.g. ARGS="-k retry"; ARGS="-n 0" runs the tests one after another.
ARGS ?=
# What `make django` runs on: the first of these that there is.
NEWER ?= $(shell for python in python3.14 python3.13 python3.12; do \
	if $$python -c "" 2>/dev/null; then echo $$python; break; fi; done)
# `make lock UPGRADE=--upgrade` takes the newest versions; without it, pins stay as they are where they still fit.
UPGRADE ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
CODE := celeryconfig.py postroom producers sandbox worker tests $(wildcard benchmarks docs_build examples)

UV := uv==0.13.9
COMPILE := $(VENV)/lock/bin/uv pip compile --quiet $(UPGRADE) --universal --python-version 3.11 --only-binary :all: \
	--generate-hashes --no-emit-index-url --emit-build-options --custom-compile-command "make lock"
# The other locks take dev's versions, so that what is tested is what runs.
SAME := --constraint requirements/dev.txt

.DEFAULT_GOAL := help
.PHONY: help demo test django chaos bench docs check format lock clean

help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/demo.stamp ## Start Redis, a local SendGrid and a worker, and send mail through them
	@$(BIN)/postroom demo

test: $(VENV)/dev.stamp ## Run the tests, against real servers on this machine
	@$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

django: $(VENV)/django.stamp ## Run the tests of Django's door on the newest Django, which needs Python 3.12 or newer
	@$(VENV)/django/bin/python -m pytest $(wildcard tests/test_django_*.py) $(ARGS)

chaos: $(VENV)/dev.stamp ## Do one thing to a fleet for long: PART="kills --times 2000"; without it, list them
	@CHAOS_COMMIT=$$(git rev-parse --short HEAD 2>/dev/null) $(BIN)/python -m tests.chaos $(PART)

bench: $(VENV)/dev.stamp $(VENV)/bench.stamp ## Measure Postroom beside its peers: ARGS="postroom celery --mails-scale 0.2"
	@$(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/docs.stamp ## Build the documentation site into site/
	@$(BIN)/python -m zensical build --strict --clean
	@echo "site/index.html is its first page"

check: $(VENV)/dev.stamp ## Check style, types and which part imports which
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev.stamp ## Put the code into the common form
	$(BIN)/ruff check --fix-only $(CODE)
	$(BIN)/ruff format $(CODE)

lock: $(VENV)/lock/bin/uv ## Pin every dependency by hash in requirements/
	@echo "Locking requirements/*.txt"
	@$(COMPILE) --output-file requirements/dev.txt --all-extras --group dev pyproject.toml
	@$(COMPILE) --output-file requirements/demo.txt $(SAME) --extra demo --extra flower --group build pyproject.toml
	@$(COMPILE) --output-file requirements/worker.txt $(SAME) --extra worker --extra cli --extra gateway pyproject.toml
	@$(COMPILE) --output-file requirements/build.txt $(SAME) --group build
	@$(COMPILE) --output-file requirements/docs.txt $(SAME) --extra cli --group build --group docs pyproject.toml
	@$(COMPILE) --output-file requirements/bench.txt --group bench

clean: ## Remove .venv, the caches and built files
	rm -rf $(VENV) build dist site .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(sys.version_info < (3, 11) and \
		f"Postroom needs Python 3.11 or newer, and {sys.executable} is {v}; try: make PYTHON=python3.13 …")'
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV)

# Everything is installed by hash and from wheels alone: building from source would fetch unpinned build tools.
# The project itself is built by the pinned hatchling. A stamp is newer than all that it was installed from.
$(VENV)/demo.stamp: requirements/demo.txt pyproject.toml | $(BIN)/pip
	@echo "Installing what the demo needs into $(VENV), once (about a minute)"
	@$(PIP) install --progress-bar off --require-hashes -r requirements/demo.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt pyproject.toml | $(BIN)/pip
	@echo "Installing what the tests need into $(VENV), once (about a minute)"
	@$(PIP) install --progress-bar off --require-hashes -r requirements/dev.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/demo.stamp $(VENV)/docs.stamp

$(VENV)/django.stamp: requirements/dev.txt pyproject.toml | $(BIN)/pip
	@test -n "$(NEWER)" || { echo "The newest Django needs Python 3.12 or newer; try: make django NEWER=/path/to/python3.13"; exit 1; }
	@echo "Installing what the tests need into $(VENV)/django, once (about a minute), with $$($(NEWER) --version)"
	@$(NEWER) -m venv --clear $(VENV)/django
	@$(VENV)/django/bin/python -m pip --disable-pip-version-check --no-input install --quiet --require-hashes \
		-r requirements/dev.txt
	@$(VENV)/django/bin/python -m pip --disable-pip-version-check --no-input install --quiet --no-deps \
		--no-build-isolation --editable .
	@touch $@

$(VENV)/docs.stamp: requirements/docs.txt pyproject.toml | $(BIN)/pip
	@echo "Installing what the documentation needs into $(VENV), once (about a minute)"
	@$(PIP) install --progress-bar off --require-hashes -r requirements/docs.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# The peers, and nothing of Postroom's.
$(VENV)/bench.stamp: requirements/bench.txt | $(BIN)/pip
	@echo "Installing the peers into $(VENV)/bench, once (about a minute)"
	@$(BIN)/python -m venv --clear $(VENV)/bench
	@$(VENV)/bench/bin/python -m pip --disable-pip-version-check --no-input install --quiet --require-hashes \
		-r requirements/bench.txt
	@touch $@

$(VENV)/lock/bin/uv: | $(BIN)/pip
	@$(BIN)/python -m venv $(VENV)/lock
	@$(VENV)/lock/bin/python -m pip --disable-pip-version-check install --quiet $(UV)
