# Everything runs from .venv in this checkout; nothing else has to be activated or installed by hand.
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# make demo DATABASE=mariadb
ON_MARIADB := $(filter mariadb,$(DATABASE))

# Every process that is started would compile all of its modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup mariadb demo up down test test-servers soak mutants lint prefect-yaml cli-docs screenshots bench bench-fleet clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(READY) ## the virtual environment, as requirements-dev.lock says (PYTHON= names an interpreter)

$(READY): requirements-dev.lock pyproject.toml
	@PYTHON="$(PYTHON)" .ci/setup $(VENV)
	@touch $@

mariadb: ## the MariaDB server program, installed where it is missing
	@.ci/install-mariadb

demo: setup $(if $(ON_MARIADB),mariadb) ## the whole story on embedded databases; DATABASE=mariadb for real servers
	@$(BIN)/stationsync demo $(if $(ON_MARIADB),--database mariadb) $(ARGS)

up: setup $(if $(ON_MARIADB),mariadb) ## a fleet to play with, in the background; PORT= for its pages, DATABASE=sqlite or mariadb
	@$(BIN)/stationsync up $(if $(PORT),--port $(PORT)) $(if $(DATABASE),--database $(DATABASE)) $(ARGS)

down: ## ends that fleet, and leaves nothing of it
	@[ ! -x $(BIN)/stationsync ] || $(BIN)/stationsync down $(ARGS)

test: setup mariadb ## all tests; ARGS="-k pull" chooses
	@$(BIN)/python -m pytest $(ARGS)

SERVERS = .servers
test-servers: setup mariadb ## the engine's stories on other versions and MySQL, as they come; PAIRS="mysql-9:own"
	@.ci/get-servers $(SERVERS) || echo "test-servers: not all servers could be had" >&2
	@$(BIN)/python tests/servers.py $(SERVERS) $(PAIRS)

soak: setup mariadb ## 2,000 histories of the drill, every case of every test, the chaos test at full length
	@$(BIN)/stationsync drill --database mariadb --histories 2000 $(ARGS)
	@SOAK=1 $(BIN)/python -m pytest
	@CHAOS=long $(BIN)/python -m pytest -n 0 tests/flows/test_chaos.py

mutants: setup mariadb ## hand-made faults, each of which its tests must find; ARGS=lease chooses by name
	@$(BIN)/python tests/mutants.py $(ARGS)

lint: setup ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file tests/mypy.ini tests

prefect-yaml: setup ## prefect.yaml, written from deployments/stations.yaml
	@$(BIN)/stationsync --topology deployments/stations.yaml deploy --prefect-yaml prefect.yaml

cli-docs: setup ## docs/CLI.md, written from the help texts
	@$(BIN)/python -m cli.reference > docs/CLI.md.new && mv docs/CLI.md.new docs/CLI.md

screenshots: setup ## docs/images, pictures of the real pages; installs chromium where it is missing
	@.ci/install-chromium
	@$(BIN)/python docs/screenshots/take.py

bench: setup mariadb ## speed against the mariadb client's own load
	@$(BIN)/python -m bench $(ARGS)

STATIONS = 100
bench-fleet: setup mariadb ## what a fleet costs under a continuous run; STATIONS=1000
	@$(BIN)/python -m bench.stations $(STATIONS) $(ARGS)

clean: ## removes .venv and all caches
	-@$(MAKE) -s down
	rm -rf $(VENV) $(SERVERS) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
