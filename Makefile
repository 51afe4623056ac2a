# Every target makes .venv when it is missing or older than what it is made from: demo what runs
# photos (requirements-base.txt), all others the whole, which contains that.
PYTHON ?= python3
ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif
BASE := .venv/.base
READY := .venv/.ready
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes

.PHONY: help demo test test-slow fuzz bad-input lint type-check format check benchmark benchmark-before benchmark-evaluate benchmark-serve export figures

help:  ## List the targets.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

$(BASE): requirements-base.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(INSTALL) -r requirements-base.txt
	touch $(BASE)

$(READY): requirements.txt $(BASE)
	$(INSTALL) -r requirements.txt
	touch $(READY)

demo: $(BASE)  ## Draw masks on a portrait, then find and classify the faces with the shipped weights.
	$(BIN)/python -m tests.demo demo/photos
	$(BIN)/python run.py demo/photos -o demo/out

test: $(READY)  ## The tests, under 6 minutes on 2 cores.
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

test-slow: $(READY)  ## Proofs on the real data in ../shared, half an hour.
	$(BIN)/python -m pytest -m slow -o faulthandler_timeout=3600

fuzz: $(READY)  ## Spoilt files against every reader and decoder, 5 minutes; other ones each time.
	$(BIN)/python -m pytest -m fuzz tests/fuzz

bad-input: $(READY)  ## data_prep/BAD_INPUT.md: what bad input gets, as the tests have it.
	$(BIN)/python -m tests.bad_input

lint: $(READY)  ## Style and formatting, nothing changed.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type-check: $(READY)  ## Types.
	$(BIN)/mypy

format: $(READY)  ## Put files into shape.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: lint type-check test  ## All that a change must pass.

benchmark: $(READY)  ## run.py against a plain loop and other detectors, on the demo photos.
	$(BIN)/python -m tests.demo demo/photos
	$(BIN)/python -m tests.benchmarks.inference_speed demo/photos
	$(BIN)/python -m tests.benchmarks.rivals demo/photos -o demo/benchmark

benchmark-before: $(READY)  ## run.py against a checkout BEFORE of another version, in turn: 8 minutes.
	$(BIN)/python -m tests.benchmarks.before $(BEFORE) $(or $(PHOTOS),../shared/data/ilc/images)

benchmark-evaluate: $(READY)  ## Average precision against a loop over boxes and faster-coco-eval.
	$(BIN)/python -m tests.benchmarks.evaluate_speed

benchmark-serve: $(READY)  ## The service under load against run.py, on the demo photos.
	$(BIN)/python -m tests.demo demo/photos
	$(BIN)/python -m tests.benchmarks.serve_load demo/photos

export: $(READY)  ## The shipped nets as ONNX, tried against torch; on the cards are their hashes.
	$(BIN)/python -m pipeline export --to onnx -o demo/export
	cp demo/export/*.onnx demo/export/classifier.json demo/export/detector.json weights/

figures: $(READY)  ## The picture of the model card: where the nets fail.
	$(BIN)/python -m tests.benchmarks.figures .github
