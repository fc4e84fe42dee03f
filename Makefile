# make run, make test: all set-up happens by itself, in .venv, on any machine with Python >= 3.11.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
JOBS ?= 2

.PHONY: run test lint bench compare pretrain-finetune demo-federation clean

run: $(INSTALLED)  ## fine-tune MiniLM across eight hospitals and write a report
	$(BIN)/foedus run examples/clinics.yaml --overwrite

compare: $(INSTALLED)  ## the same beside pooled training, each hospital alone and TF-IDF, over three seeds
	$(BIN)/foedus compare examples/clinics.yaml --seeds 3 --overwrite

pretrain-finetune: $(INSTALLED)  ## pre-train a GPT-2 on plays, fine-tune it on roles of others, and do so from random weights too
	$(BIN)/foedus run examples/pretrain_then_finetune/pretrain.yaml --overwrite
	$(BIN)/foedus run examples/pretrain_then_finetune/finetune.yaml --overwrite
	$(BIN)/foedus run examples/pretrain_then_finetune/from_random.yaml --overwrite

demo-federation: $(INSTALLED)  ## three hospitals and a coordinator, each a process of its own, over mTLS on this machine
	$(BIN)/python examples/federation/demo.py

test: $(INSTALLED)  ## all tests
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --dist worksteal

lint: $(INSTALLED)  ## format, lint, types, layers, doctests
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q --doctest-modules src/foedus

bench: $(INSTALLED)  ## speed and memory against a plain training loop
	$(BIN)/python -m benchmarks

$(INSTALLED): pyproject.toml constraints.txt packages.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "foedus needs Python 3.11 or newer; name one with make PYTHON=/path/to/python3")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	# torch first and by its exact version: the build that is at hand, not the newest with its extras
	$(BIN)/python -m pip install --quiet -c constraints.txt torch==$$(sed -n 's/^torch==//p' constraints.txt)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps -r packages.txt
	touch $@

clean:  ## remove what make made, but no runs
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
