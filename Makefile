# `make help` lists the targets. The first one used sets up .venv; later ones take it as it is.
BIN := .venv/bin
STAMP := .venv/.unstuck
LAB_PORT := $(or $(PORT),8888)
PORT ?= 8000
FRESH ?=
ORIGINALS ?=
IP ?=
ONLY ?=
SAMPLE ?=
SEED ?= 0
SUBMISSIONS ?=
ASSIGNMENT ?=
JOBS ?= 1
DASK ?=
PAGE ?=
export PYTHON

.PHONY: help book test check page lab serve pdf notebooks bench mutants assignments grade test-assignments slides
.DEFAULT_GOAL := help

help: ## list what make can do
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r target text; do \
	  printf '  make %-16s %s\n' "$$target" "$$text"; done

book: $(STAMP) ## build the website from the stored outputs
	@$(BIN)/python tools/build.py

test: $(STAMP) ## check everything: code, notebooks, text, website (ONLY=package: that stage alone)
	@$(BIN)/python tools/check.py $(ONLY)

check: $(STAMP) ## check quickly what you have touched since the last commit: lint, and the text of its pages
	@$(BIN)/python tools/check.py --touched

page: $(STAMP) ## make a chapter from a draft with cells, under a name that is free (DRAFT=draft.py NAME=15_walks)
	@$(BIN)/python tools/new_page.py "$(DRAFT)" "$(NAME)"

lab: $(STAMP) ## open a working copy of the chapters in JupyterLab (FRESH=1: start again; ORIGINALS=1: book/ itself; PORT=8888)
	@$(BIN)/python tools/lab.py --port $(LAB_PORT) $(if $(IP),--ip $(IP)) $(if $(FRESH),--fresh) $(if $(ORIGINALS),--originals)

serve: book ## build the website and serve it on this machine (PORT=8000)
	@echo "The book: http://127.0.0.1:$(PORT)/  (Ctrl-C ends it)"
	@$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

pdf: $(STAMP) ## print the whole book into _build/unstuck.pdf (needs TeX; says how to get it)
	@$(BIN)/python tools/pdf.py

notebooks: $(STAMP) ## execute chapters and store their outputs (ONLY=03: that one, ONLY="03*": all that begin so)
	@$(BIN)/python tools/notebooks.py $(foreach name,$(ONLY),'$(name)')

bench: $(STAMP) ## measure what benchmarks/ measures
	@for file in $(sort $(wildcard benchmarks/[!_]*.py)); do \
	  echo "== $$file"; $(BIN)/python $$file || exit 1; done

mutants: $(STAMP) ## plant faults in the package and count those that the tests find (ONLY=plots, SAMPLE=200)
	@$(BIN)/python tools/mutants.py --only "$(ONLY)" --sample "$(SAMPLE)" --seed $(SEED)

assignments: $(STAMP) ## write the students' versions and their zips (ASSIGNMENT=backprop: that one)
	@$(BIN)/python -m assignments.grading release $(if $(ASSIGNMENT),--only $(ASSIGNMENT))

grade: $(STAMP) ## mark a folder of submissions (SUBMISSIONS=folder; JOBS=2, ASSIGNMENT=backprop, SEED=0, DASK=local or an address)
	@$(BIN)/python -m assignments.grading grade "$(SUBMISSIONS)" --jobs $(JOBS) --seed $(SEED) \
	  $(if $(ASSIGNMENT),--assignment $(ASSIGNMENT)) $(if $(DASK),--dask $(DASK))

test-assignments: $(STAMP) ## try every wrong and every hostile submission, Dask and nbgrader's exchange (minutes)
	@$(BIN)/python -m pytest tests/assignments -n 2

slides: $(STAMP) ## show a page as slides that need no network (PAGE=04)
	@$(BIN)/python tools/slides.py "$(PAGE)"

$(STAMP): requirements.txt pyproject.toml tools/setup.sh
	@sh tools/setup.sh
