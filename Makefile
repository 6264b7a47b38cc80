# Everything runs in .venv, which the first call makes; nothing else is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TEST_STAMP := $(VENV)/.installed-test
WORKERS ?= auto

.PHONY: help demo run test bench lint format manual openapi licences vendor clean

help:  ## say what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

# Debian ships Python without ensurepip unless python3-venv is installed: then pip is fetched as a package, when we may.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "telemetryctl needs Python 3.11 or newer"; exit 1; }
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { rm -rf $(VENV); sh deploy/install-venv.sh $(PYTHON) $(VENV); }

$(STAMP): $(BIN)/python pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[daemon,embedded]'
	@touch $@

$(TEST_STAMP): $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[daemon,embedded,test]'
	@touch $@

demo: $(STAMP)  ## two days of a city's buses, replayed into a scratch database before your eyes (DURATION=20s ends it)
	@$(BIN)/python examples/demo.py

run: $(STAMP)  ## serve on the embedded PostgreSQL in your data folder
	@$(BIN)/telemetryd serve

test: $(TEST_STAMP)  ## lint, types and the whole suite, against real PostgreSQL
	@sh deploy/install-postgresql.sh
	@sh deploy/install-debian.sh chromium prometheus-alertmanager promtool=prometheus slowhttptest \
	  nginx=nginx-light caddy node=nodejs groff=groff-base systemctl=systemd dbus-daemon=dbus
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder

bench: $(TEST_STAMP)  ## the figures of docs/benchmarks.md, each beside its limit measured in the same run
	@$(BIN)/python tests/bench/run.py $(ONLY)

lint: $(TEST_STAMP)  ## ruff and mypy
	@$(BIN)/ruff check . && $(BIN)/mypy

format: $(TEST_STAMP)  ## put imports and lines in order
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

manual: $(STAMP)  ## write man/ and docs/cli.md anew from the commands and settings
	@$(BIN)/python -m man.generate

openapi: $(STAMP)  ## write docs/openapi.json anew from the routes
	@$(BIN)/python deploy/write_openapi.py

licences: $(TEST_STAMP)  ## write docs/licences.md anew from what is installed
	@$(BIN)/python deploy/write_licences.py

vendor: $(STAMP)  ## fetch the pinned Swagger UI and ReDoc anew (needs npm)
	@$(BIN)/python deploy/vendor_docs.py

clean:  ## remove what the calls above made
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
