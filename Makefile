# `make book` and `make test`: on a fresh machine with python3 (3.11 to 3.13), git and make.
PYTHON ?= python3
BIN := .venv/bin
NOTEBOOKS = $(shell $(BIN)/python chapters/assets/claims.py)
NBVAL = $(BIN)/python -m pytest --nbval --nbval-current-env --nbval-cell-timeout=300 \
        --nbval-sanitize-with tests/nbval.cfg -p no:cacheprovider
export PIP_DISABLE_PIP_VERSION_CHECK := 1
.PHONY: assignments audit bench gpu book serve pdf test lint types units nbval notebook record mutants data clean help grade slides

book: .venv/ready            ## build the HTML from the committed notebooks; a warning is an error
	@$(BIN)/jupyter-book build . -W --keep-going -q
	@echo $(CURDIR)/_build/html/index.html

serve: book                  ## serve the built book on http://localhost:8000
	$(BIN)/python -m http.server 8000 --directory _build/html

pdf: book                    ## print the whole book to _build/book.pdf; needs Chromium
	@$(BIN)/python -m chapters.assets.pdf

assignments: .venv/classroom ## write the students' notebooks and a zip of them to _build/assignments
	@$(BIN)/python -m chapters.assignments.grade generate

grade: .venv/classroom       ## grade a folder of submissions in a sandbox: make grade SUBMISSIONS=folder
	@$(BIN)/python -m chapters.assignments.grade grade $(if $(SUBMISSIONS),"$(SUBMISSIONS)")

slides: .venv/classroom      ## write a deck of slides for each part to _build/slides
	@$(BIN)/python -m chapters.assets.slides

test: lint types book data .venv/classroom ## everything CI checks; ends with pytest's own closing line
	$(NBVAL) -n 2 --dist loadfile $(NOTEBOOKS)
	$(BIN)/python -m pytest -n 2 --dist loadfile tests

lint: .venv/ready            ## ruff: rules and formatting, notebooks included
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready           ## mypy on kltools
	$(BIN)/mypy

data: .venv/ready            ## fetch the encoder, the reviews, 18 books and three libraries' sources once, checked by hash
	$(BIN)/python -m kltools.tiers

nbval: .venv/ready data      ## execute every notebook and compare; NB=path for one
	$(NBVAL) $(or $(NB),-n 2 --dist loadfile $(NOTEBOOKS))

notebook: .venv/ready        ## run one notebook and store its outputs: make notebook NB=path
	$(BIN)/python chapters/assets/notebook.py $(NB)

record: .venv/ready data     ## a recorded run: make record RUN=fine-tune-cpu
	$(BIN)/python -m kltools.record $(RUN)

bench: .venv/ready data      ## side by side, recorded: make bench WHAT=divergence (finetune, steps)
	$(BIN)/python -m kltools.bench $(WHAT)

gpu: .venv/ready data        ## on a machine with a GPU: its tests, and every run that is recorded there
	$(BIN)/python -m pytest -p no:cacheprovider tests/gpu
	for what in finetune steps divergence; do $(BIN)/python -m kltools.bench $$what || exit 1; done
	for run in fine-tune language-modelling fewer-parameters; do $(BIN)/python -m kltools.record $$run-gpu || exit 1; done

audit: book                  ## Lighthouse on three pages, as on a phone (needs Chromium and npm)
	$(BIN)/python tests/audit.py

mutants: .venv/ready data    ## single-line faults: each must fail a unit test and a notebook
	$(BIN)/python tests/mutants.py

clean:                       ## remove what was built; the environment stays
	rm -rf _build .pytest_cache .mypy_cache .ruff_cache .hypothesis

help:                        ## this list
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*##/ —/'

.venv/ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -r requirements.txt
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

.venv/classroom: .venv/ready chapters/assignments/requirements.txt
	$(BIN)/python -m pip install -q -r requirements.txt -r chapters/assignments/requirements.txt
	@touch $@
