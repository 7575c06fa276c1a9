# Every target works alone on a fresh clone: it installs what it needs first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= demo
AGENTS ?= claude codex gemini opencode aider mini

.PHONY: install demo test test-slow test-agents check bench clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet "torch==2.13.*"
	$(BIN)/pip install --quiet --editable ".[acp,llm,mcp,nanogpt,portfolio,postgres,dev]"
	touch $@

demo: install
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/overnight demo $(DEMO)

test: install
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest -n 2 --dist worksteal

# Long simulations and campaigns.
test-slow: install
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest -m slow -n 2 --dist worksteal

# The real agent programs, on a scripted model: downloads up to 2 GB, once.
test-agents: install
	$(BIN)/python tests/models/programs.py $(AGENTS)
	AGENTS="$(AGENTS)" PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest -m agents -n 2 --dist worksteal tests/programs

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install
	for file in benchmarks/*.py; do echo "== $$file"; PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python $$file || exit 1; done

clean:
	rm -rf $(VENV) $(DEMO) build dist
