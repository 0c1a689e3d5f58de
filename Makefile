# make study, make test: each works alone from a fresh clone. Needs Python 3.11+, git and make.
PYTHON ?= python3
PIP_FLAGS ?=
ARGS ?=
MODEL = bat-pricer
BIN := .venv/bin
RUN := PATH="$(CURDIR)/$(BIN):$$PATH"
AUDIT := .venv/audit.json

.PHONY: setup study test test-all check format constraints serve ui clean-cache

setup: .venv/.done

.venv/.done: $(wildcard requirements*.txt constraints*.txt)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) -r requirements-dev.txt -c constraints-dev.txt
	touch $@

study: setup
	$(RUN) mlflow run . -e scaling_study --env-manager local $(ARGS)

test: setup
	$(RUN) python -m pytest -q -n auto --dist worksteal $(ARGS)

test-all: setup
	$(RUN) python -m pytest -q -m "not gpu" $(ARGS)

check: setup
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	@rm -f $(AUDIT)
	@$(RUN) pip-audit -r constraints.txt -r constraints-dev.txt --no-deps --disable-pip --progress-spinner off -f json \
		-o $(AUDIT) || { test ! -s $(AUDIT) && echo "pip-audit: its database cannot be reached"; }
	@n=$$(grep -o skip_reason $(AUDIT) 2>/dev/null | wc -l); \
		test $$n = 0 || echo "pip-audit: $$n packages could not be looked up"

format: setup
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

constraints: setup
	$(RUN) python renew_constraints.py $(PIP_FLAGS)

serve: setup
	$(RUN) mlflow models serve -m 'models:/$(MODEL)@champion' --env-manager local -p 5001

ui: setup
	$(RUN) mlflow ui

clean-cache: setup
	$(RUN) python -m entrypoints.cache --remove=all $(ARGS)
