# Every verb installs what it needs into .venv and can be repeated. Windows: see the README.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
export OMP_NUM_THREADS ?= 1
export HF_HUB_DISABLE_TELEMETRY = 1

.PHONY: help run install bundle test test-fast test-unit test-engine test-integration test-cli test-e2e check fix bench soak docs screenshots clean

help:  ## list the verbs
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt 'torch==2.13.0'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,export]'
	@touch $@

install: $(STAMP)  ## make the environment under the tested pins

bundle: $(STAMP)  ## build the web app once; nothing to do when it is up to date
	$(BIN)/python -m backprop_app.build

run: bundle  ## the web app at http://localhost:7860
	env -u OMP_NUM_THREADS $(BIN)/backprop ui

test: check bundle  ## everything that CI runs, the browser included
	$(BIN)/python -m tests.support.browser
	$(MAKE) -j3 -k --output-sync=target --no-print-directory test-e2e test-engine test-integration test-cli test-unit

# Each kind in a process of its own, three kinds at a time, the longest first: most of them wait most of the time.
test-e2e test-engine: test-%:
	$(BIN)/python -m pytest tests/$*

test-integration:
	$(BIN)/python -m pytest tests/integration --ignore-glob='*/test_c*.py'

test-cli:
	$(BIN)/python -m pytest tests/integration/test_c*.py

test-unit:
	$(BIN)/python -m pytest tests/unit tests/contracts tests/mutation tests/gpu

test-fast: $(STAMP)  ## unit tests and contracts only
	$(BIN)/python -m pytest tests/unit tests/contracts

check: $(STAMP)  ## style, types, import rules, generated docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(STAMP)  ## format and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: bundle  ## the figures of benchmarks/README.md, measured here
	$(BIN)/python -m benchmarks

soak: bundle  ## the long tests
	$(BIN)/python -m pytest -m soak

docs: $(STAMP)  ## write the generated references again
	$(BIN)/python docs/generate.py

screenshots: bundle  ## take the pictures of the README again
	$(BIN)/python docs/screenshots.py

clean:  ## remove what was built, not the environment and no user data
	rm -rf .web .mypy_cache .ruff_cache backprop_app/_web backprop_app/_ui dist
