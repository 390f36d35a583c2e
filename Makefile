# `make demo` and `make test` are all that a new machine needs; README.md has the plain commands.
PYTHON ?= python3
RUN := .venv/bin/python
WORK := work_dirs/jepat_digits

.PHONY: demo emoji test lint slow storm docs

demo: .venv/installed
	$(RUN) -m jepa_t train jepat_digits --work-dir $(WORK)
	$(RUN) -m jepa_t test jepat_digits --work-dir $(WORK)
	$(RUN) -m jepa_t sample $(WORK) "a red three on white paper" "a blue seven" "the digit five in green ink" \
		"on black paper the digit zero in yellow" "a purple two on grey paper" "a cyan nine" \
		"a yellow four on black paper" "a green eight on white paper" --out $(WORK)
	$(RUN) -m jepa_t sample emoji "a woman astronaut with dark skin" "a fox" "the flag of Japan" "waving hand, light skin" \
		--out work_dirs/emoji

emoji: .venv/installed
	$(RUN) -m jepa_t train tokenizers/fsq_emoji
	$(RUN) -m jepa_t train jepat_emoji
	$(RUN) -m jepa_t test jepat_emoji
	$(RUN) -m jepa_t sample work_dirs/jepat_emoji "a woman astronaut with dark skin" "a man astronaut with light skin" \
		"a woman detective with medium skin" "an elf with dark skin" "a fox" "a pineapple" "the flag of Japan" \
		"a red fox" --out work_dirs/jepat_emoji

test: .venv/installed
	$(RUN) -m pytest -n auto

storm: .venv/installed
	$(RUN) tests/storm

slow: .venv/installed
	$(RUN) -m pytest -m slow

lint: .venv/installed
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) docs/site/prose.py *.md docs jepa_t/weights .github

docs: .venv/installed
	$(RUN) -m pip install -q -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install -q -e '.[test]'
	touch $@
