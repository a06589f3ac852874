# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= $(shell for p in python3.12 python3.11 python3.13 python3; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -e
# What running needs, and what developing needs: `make demo` does not wait for linters.
RUN := $(VENV)/run.installed
DEV := $(VENV)/dev.installed
SHELLS := $(VENV)/shells.installed
G := $(BIN)/gaiaops
# More than half of the time a test waits for a server, so there are two workers more than there are cores; they take
# slow tests from each other at the end (worksteal).
WORKERS = $(shell $(BIN)/python -c 'import os; print((os.cpu_count() or 1) + 2)')

.PHONY: demo test lint types imports unit bench stress clean docs

$(RUN): pyproject.toml
	@test -n "$(PYTHON)" || { echo "gaiaops needs Python 3.11 or later on PATH"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) '.[sandbox]'
	$(BIN)/python -m compileall -q gaiaops
	@touch $@

$(DEV): $(RUN)
	$(INSTALL) '.[sandbox,dev]'
	@touch $@

# The shells that `connect` opens, as a user has them: in an environment of their own, for iredis wants an older redis-py.
SHELL_EXTRA = import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["shell"], sep="\n")
$(SHELLS): $(RUN)
	@test -x $(VENV)/shells/bin/python || $(BIN)/python -m venv $(VENV)/shells
	$(BIN)/python -c '$(SHELL_EXTRA)' | $(VENV)/shells/bin/python -m pip install --quiet --disable-pip-version-check \
		-r /dev/stdin 'psycopg[binary]'
	@touch $@

demo: $(RUN)
	$(G) sandbox up
	$(G) --sandbox view all
	$(G) --sandbox query dev "SELECT email, created_at FROM users ORDER BY created_at DESC LIMIT 10"
	$(G) --sandbox query all
	@echo
	@echo "The sandbox is up. Next, with $(BIN) on your PATH:"
	@echo "  gaiaops --sandbox view dev                    tables, newest users, cache keys by family"
	@echo "  gaiaops --sandbox query dev 'DELETE FROM users'    is refused: reading is the default"
	@echo "  gaiaops --sandbox connect production          psql or pgcli, read-only, a red prompt"
	@echo "  gaiaops sandbox status                        every server and its address"
	@echo "  gaiaops sandbox down                          stops it all"

test: lint types imports unit

lint: $(DEV)
	$(BIN)/ruff check .

types: $(DEV)
	$(BIN)/mypy

imports: $(DEV)
	$(BIN)/lint-imports --no-logo

unit: $(DEV) $(SHELLS)
	@tests/packages.sh
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# The integration tests once more, on other servers: PostgreSQL's bin folder and a redis-server.
.PHONY: others
others: $(DEV) $(SHELLS)
	GAIAOPS_SANDBOX_POSTGRES=$(POSTGRES) GAIAOPS_SANDBOX_REDIS=$(REDIS) \
		$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal tests/integration tests/contract

# One line a figure; `make bench ONLY=csv` runs one.
bench: $(RUN)
	$(BIN)/python -m benchmarks $(ONLY)

# The rounds that are too heavy for `make test`.
stress: $(DEV) $(SHELLS)
	@tests/packages.sh
	GAIAOPS_TEST_STRESS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

docs: $(DEV)
	$(BIN)/python docs/generate.py

clean:
	-$(G) sandbox down
	rm -rf $(VENV) build dist *.egg-info
