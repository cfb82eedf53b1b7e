# make run     install what serving needs, fetch the embedded model, serve on port 8080
# make demo    serve agents with tools on a scripted model: no key, no download
# make test    install what the tests need as well, run them; TEST_ON=postgres puts their servers on PostgreSQL
# make check   format check, lint, types, tests
# make format  put the code into shape
# make proto   generate the Python code of the gRPC door from app/rpc/hector.proto
# make lock    choose the pinned versions anew from pyproject.toml

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
HOST ?= 127.0.0.1
PORT ?= 8080

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
SYSTEM := chromium nginx-light bubblewrap redis-server $(if $(shell command -v npm),,nodejs npm)
HAS_SYSTEM = test -x /usr/bin/chromium && command -v npm >/dev/null && command -v bwrap >/dev/null && command -v redis-server >/dev/null && PATH="$$PATH:/usr/sbin" command -v nginx >/dev/null

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install install-dev weights system-packages client-generators run demo test check format format-check lint types build proto lock clean

help:
	@sed -n 's/^# //p' Makefile

# ---- install: every download happens here; what is done stays done --------------------------------------------

install: $(VENV)/.installed weights

install-dev: $(VENV)/.installed-dev weights system-packages client-generators

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Hector needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3"; exit 1; }
	@"$(PYTHON)" -m venv $(VENV) || { echo "No virtual environment could be made; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

$(VENV)/.installed: requirements.txt pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --require-hashes -r requirements.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --no-index -e .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(PIP) install --quiet --require-hashes -r requirements-dev.txt
	@touch $@

# Does nothing but check the sum when the model is there already.
weights: $(VENV)/.installed
	@$(BIN)/python -m app.llm.weights

# The browser tests drive a system Chromium, the proxy tests an nginx, the tests of the tail a Redis, a generated client runs on Node. Without the right to install them, say what is
# needed and go on: the tests themselves then fail with the same sentence.
system-packages:
	@{ $(HAS_SYSTEM); } || { \
		if ! command -v apt-get >/dev/null; then echo "Some tests need Chromium (/usr/bin/chromium), nginx and Node with npm; please install them, and Redis; bubblewrap, too, on Linux."; \
		elif [ "$$(id -u)" = 0 ]; then apt-get -qq update && $(APT_INSTALL); \
		elif sudo -n true 2>/dev/null; then sudo apt-get -qq update && sudo $(APT_INSTALL); \
		else echo "Some tests need: sudo apt-get install $(SYSTEM)"; fi; }

APT_INSTALL = env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $(SYSTEM) >/dev/null

# The tests generate clients from the OpenAPI document, read streams with the SSE libraries that people use, and use MCP
# servers that others wrote. All are pinned apart from the packages of the server.
CLIENTS := tests/clients
NODE_MODULES := $(CLIENTS)/typescript/node_modules/.package-lock.json

client-generators: $(VENV)/clients/.installed $(NODE_MODULES)

$(VENV)/clients/.installed: $(CLIENTS)/python/requirements.txt | $(BIN)/python
	@$(BIN)/python -m venv $(VENV)/clients
	$(VENV)/clients/bin/python -m pip --disable-pip-version-check --no-input install --quiet --require-hashes -r $<
	@touch $@

$(NODE_MODULES): $(CLIENTS)/typescript/package-lock.json | system-packages
	npm ci --prefix $(CLIENTS)/typescript --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# ---- run -----------------------------------------------------------------------------------------------------

run: install
	@echo
	@echo "Hector answers on http://localhost:$(PORT) once it says so below. Then try, in another terminal:"
	@echo
	@echo "  curl -N http://localhost:$(PORT)/agents/assistant/messages/stream \\"
	@echo "    -H \"Content-Type: application/json\" \\"
	@echo "    -d '{\"message\": \"Explain quantum computing\"}'"
	@echo
	@exec $(BIN)/hector serve --host $(HOST) --port $(PORT)

# Its models are scripts, so nothing is downloaded. What it keeps is in examples/demo: data/ and workspace/.
demo: $(VENV)/.installed
	@echo
	@echo "Hector answers on http://localhost:$(PORT) once it says so below: a chat page, and"
	@echo
	@echo "  curl -N http://localhost:$(PORT)/agents/coder/messages/stream -d '{\"message\": \"Write a hello world program\"}'"
	@echo "  curl -N http://localhost:$(PORT)/agents/coder/messages/stream -d '{\"message\": \"Ask the reviewer\"}'"
	@echo "  curl -N http://localhost:$(PORT)/agents/coder/messages/stream -d '{\"message\": \"Delete the program\"}'"
	@echo
	@echo "The last one waits for a yes; in the page there is a button for it, for curl see examples/demo/README.md."
	@echo
	@exec $(BIN)/hector serve --config examples/demo/config.yaml --host $(HOST) --port $(PORT)

# ---- check ---------------------------------------------------------------------------------------------------

test: install-dev
	@mkdir -p .pytest_cache; $(BIN)/python -m pytest $(ARGS); \
		status=$$?; echo $$status > .pytest_cache/exit-code; exit $$status

check: format-check lint types test

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

format-check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check --diff .

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

# ---- release -------------------------------------------------------------------------------------------------

build: $(VENV)/.installed-dev
	$(BIN)/python -m build --no-isolation

proto: $(VENV)/.installed-dev
	$(BIN)/python -m tests.rpc.generate

# The pins hold for every platform and Python we support, with the hashes of every file of a version, and name
# no index: they work with a mirror as well. `make lock UPGRADE=--upgrade` takes newer versions.
lock: $(BIN)/python
	$(PIP) install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra local --extra memory --extra documents --extra postgres --extra redis --extra grpc --extra a2a --group backend $(LOCK) -o requirements.txt
	$(BIN)/uv pip compile pyproject.toml --extra local --extra memory --extra documents --extra postgres --extra redis --extra grpc --extra a2a --extra otel --extra dev --group backend -c requirements.txt $(LOCK) -o requirements-dev.txt
	$(BIN)/uv pip compile $(CLIENTS)/python/requirements.in $(LOCK) -o $(CLIENTS)/python/requirements.txt
	npm install --prefix $(CLIENTS)/typescript --package-lock-only --ignore-scripts --no-audit --no-fund
	@! grep -nE '://|--(index|extra|find|trusted)' requirements.txt requirements-dev.txt $(CLIENTS)/python/requirements.txt
	@! grep -n '"resolved"' $(CLIENTS)/typescript/package-lock.json

LOCK = --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--custom-compile-command "make lock" --quiet $(UPGRADE)

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
