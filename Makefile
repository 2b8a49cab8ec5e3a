# Everything a fresh machine needs is CPython 3.11 or newer, pip, make, git: each target sets up what it uses.
PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Two test processes; a module stays in one, for its tests share what was expensive to make.
SPREAD := -n 2 --dist loadscope

.PHONY: demo test check fast crash bench lock sbom docs clean

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# One stamp per set of packages; a changed pyproject.toml sets up again.
$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(RUN)/python -m pip install --quiet --editable ".[exoplanet,market]"
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(RUN)/python -m pip install --quiet --editable ".[dev]"
	touch $@ $(VENV)/.demo

$(VENV)/.bench: pyproject.toml $(VENV)/.dev
	$(RUN)/python -m pip install --quiet --editable ".[bench]"
	touch $@

$(VENV)/.docs: pyproject.toml | $(VENV)/bin/python
	$(RUN)/python -m pip install --quiet --editable ".[docs]"
	touch $@

demo: $(VENV)/.demo  ## run both pipelines, be killed, resume, compare
	$(RUN)/python examples/demo.py

test: $(VENV)/.dev  ## the test suite
	$(RUN)/python -m pytest -m "not crash" $(SPREAD)

fast: $(VENV)/.dev  ## tests that take moments
	$(RUN)/python -m pytest -m "not crash and not slow" -x

check: $(VENV)/.dev  ## format, lint, types, import contracts, docs, tests
	$(RUN)/ruff format --check src tests benchmarks examples docs requirements
	$(RUN)/ruff check src tests benchmarks examples docs requirements
	$(RUN)/mypy
	$(RUN)/lint-imports
	$(RUN)/python docs/generate_cli.py --check
	$(RUN)/python -m pytest -m "not crash" $(SPREAD)

crash: $(VENV)/.dev  ## slow sweeps: kills at every seam, faults, damage
	$(RUN)/python -m pytest -m crash --timeout 3600

bench: $(VENV)/.bench  ## costs, side by side with other tools
	$(RUN)/python -m benchmarks

lock: $(VENV)/.dev  ## requirements/dev.txt: the development environment, by version and digest
	$(RUN)/python requirements/lock.py

sbom: $(VENV)/.dev  ## dist/sbom.json: what the development environment consists of (CycloneDX)
	$(RUN)/python -m pip install --quiet "cyclonedx-bom>=7"
	mkdir -p dist
	$(RUN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file dist/sbom.json $(RUN)/python

docs: $(VENV)/.docs  ## the documentation's site, in site/; every link within it must lead somewhere
	$(RUN)/zensical build --clean --strict

clean:
	rm -rf $(VENV) runs dist site .mypy_cache .ruff_cache .hypothesis
