# Each target sets itself up: the only needs are Python 3.11 or newer with venv, and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
# Which extras are installed; "dev" holds "train".
TRAIN := $(VENV)/.train
DEV := $(VENV)/.dev
TOOLS := .venv-tools

.PHONY: demo test lint format mutants bench fuzz lock licences sbom clean

demo: $(TRAIN)
	$(BIN)/mobilenets demo --out demo $(if $(wildcard demo),--resume)

test: lint
	# One thread a process: threads of two processes on two cores would wait for each other.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: $(DEV)
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV)
	$(BIN)/ruff format src tests benchmarks examples
	$(BIN)/ruff check --fix src tests benchmarks examples

# Small faults put into the core one by one (pyproject.toml says where), in a copy: mutants/. What no test finds is listed;
# `mutmut show NAME` prints one. About 2,300 of them, for the night. MUTANTS="mobilenets.measure.paired*" takes some.
mutants: $(DEV)
	$(PIP) 'mutmut>=3.8'
	OMP_NUM_THREADS=1 $(BIN)/mutmut run --max-children 2 $(MUTANTS)
	$(BIN)/mutmut results

# Training beside other frameworks, each in an environment of its own: BENCH="--case v1-224x16 --peers ours mindspore".
bench: $(TRAIN)
	@echo "Environments of PyTorch, Keras and MindSpore go to .venv-bench, once: about 7 GB on disk. Then about 40 minutes."
	$(BIN)/python benchmarks/training.py --set-up --out benchmarks/results/training.json $(BENCH)
	$(BIN)/python benchmarks/training_report.py benchmarks/results/training.json --docs

# Every parser of foreign bytes, for an hour; FUZZ="--minutes 5 jpeg" for less. Findings lie in fuzz/.
fuzz: $(DEV) $(TOOLS)
	PYTHONPATH=src:$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])') \
		$(TOOLS)/bin/python benchmarks/fuzz.py --out fuzz $(FUZZ)

# What each install takes, with hashes; see docs/install.md. Afterwards `git diff` shows what has changed.
lock: $(TOOLS)
	PATH="$(TOOLS)/bin:$$PATH" $(TOOLS)/bin/python benchmarks/lock.py

licences: $(DEV)
	$(BIN)/python benchmarks/licences.py

# A bill of materials of this environment, in CycloneDX: sbom.json.
sbom: $(DEV) $(TOOLS)
	$(TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --of JSON -o sbom.json $(BIN)/python

# These stay out of the environment that they look at.
$(TOOLS): | $(VENV)/bin/python
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check atheris cyclonedx-bom uv || { rm -rf $(TOOLS); exit 1; }

# The stamps are written last, so that an interrupted set-up is done again.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "This is Python %d.%d, and 3.11 or newer is needed: name one, as in  make demo PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(TRAIN): pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Setting up $(VENV), once: about 400 MB to download and 1.6 GB on disk; on Linux 3 GB and 4 GB more, unless you choose PyTorch for the CPU (docs/install.md)."
	$(PIP) -e '.[train,serve,heic]'
	touch $@

$(DEV): pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Setting up $(VENV) for development, once: about 2 GB on disk."
	$(PIP) -e '.[dev]'
	touch $(TRAIN) $@

clean:
	rm -rf $(VENV) .venv-bench $(TOOLS) build mutants .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
