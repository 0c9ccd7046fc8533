# `make help` lists the targets. The first one used sets up .venv; later ones take it as it is.
BIN := .venv/bin
STAMP := .venv/.unstuck
PORT ?= 8000
ONLY ?=
SAMPLE ?=
SEED ?= 0
export PYTHON

.PHONY: help book test lab serve notebooks bench mutants
.DEFAULT_GOAL := help

help: ## list what make can do
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r target text; do \
	  printf '  make %-10s %s\n' "$$target" "$$text"; done

book: $(STAMP) ## build the website from the stored outputs
	@$(BIN)/python tools/build.py

test: $(STAMP) ## check everything: code, notebooks, text, website (ONLY=package: that stage alone)
	@$(BIN)/python tools/check.py $(ONLY)

# one thread, as tests and `make notebooks` have: with more, small networks wait for each other as soon as a core is busy
lab: $(STAMP) ## open the chapters in JupyterLab
	cd book && OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} ../$(BIN)/jupyter lab

serve: book ## build the website and serve it on this machine (PORT=8000)
	@echo "The book: http://127.0.0.1:$(PORT)/  (Ctrl-C ends it)"
	@$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

notebooks: $(STAMP) ## execute chapters and store their outputs (ONLY=03: those whose name begins so)
	@$(BIN)/python tools/notebooks.py $(ONLY)

bench: $(STAMP) ## measure what benchmarks/ measures
	@for file in $(sort $(wildcard benchmarks/[!_]*.py)); do \
	  echo "== $$file"; $(BIN)/python $$file || exit 1; done

mutants: $(STAMP) ## plant faults in the package and count those that the tests find (ONLY=plots, SAMPLE=200)
	@$(BIN)/python tools/mutants.py --only "$(ONLY)" --sample "$(SAMPLE)" --seed $(SEED)

$(STAMP): requirements.txt pyproject.toml tools/setup.sh
	@sh tools/setup.sh
