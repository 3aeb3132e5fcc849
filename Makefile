# Everything a fresh machine needs is Python (3.10 or newer, with venv) and make.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STORE  := $(CURDIR)/examples/quickstart/.modelforge/store
FORGE  := MODELFORGE_STORE=$(STORE) $(BIN)/modelforge -C examples/quickstart --runtime embedded

# The unit tests write thousands of small files: into memory where 2 GiB of it are free for files, as on most Linux.
ROOM   := $(shell df -Pk /dev/shm 2>/dev/null | awk 'END { print ($$4 > 2000000) }')
FILES  := $(if $(filter 1,$(ROOM)),PYTEST_DEBUG_TEMPROOT=/dev/shm)

.PHONY: quickstart test check docs accuracy benchmarks clean

# A profile becomes a tested model, offline and without Ollama, in a store of its own.
quickstart: $(VENV)/.quickstart
	$(FORGE) build coding-assistant
	$(FORGE) run coding-assistant "Write a function that reverses a string."
	@printf '\nAsk it more: %s -C examples/quickstart run coding-assistant "…"\n' $(BIN)/modelforge

# The unit tests, plans against llama.cpp's own planner, and the live tests of what is installed here; the others say
# why they are skipped.
test: $(VENV)/.test
	$(FILES) $(BIN)/python -m pytest -n 2 --ignore=tests/live --ignore=tests/oracle -o tmp_path_retention_policy=failed
	$(BIN)/python -m pytest -n 2 tests/oracle
	$(BIN)/python -m pytest tests/live

# What a change must pass: lint, format and types.
check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The tables of the documentation and the profile's JSON Schema, from the code.
docs: $(VENV)/.test
	$(BIN)/python docs/generate.py

# Every plan and decision against llama.cpp's own planner, speeds on this processor against the estimate, and
# docs/accuracy.md from that. Takes about 30 minutes; the speeds are right only where nothing else runs.
accuracy: $(VENV)/.test
	$(BIN)/python -m tests.oracle.report
	$(BIN)/python -m tests.oracle.speed

benchmarks: $(VENV)/.test
	$(BIN)/python benchmarks/gguf_header.py
	$(BIN)/python benchmarks/start_up.py
	$(BIN)/python benchmarks/unchanged_build.py
	$(BIN)/python benchmarks/plans.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.quickstart: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[embedded]"
	@$(BIN)/python -m compileall -q modelforge  # as the installer does for everything else
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[embedded,test]"
	@touch $@ $(VENV)/.quickstart

clean:
	rm -rf $(VENV) examples/quickstart/.modelforge
