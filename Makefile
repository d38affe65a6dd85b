# SPDX-License-Identifier: Apache-2.0
# make demo   the main job: train on real data, build a verified bitstream, write the report page
# make test   the tests            make test-full   with the long sweeps
# make lint   ruff and mypy        make bench [BENCH=name]   benchmarks, results in benchmarks/results/
SHELL := /bin/bash
BIN := .venv/bin
JOBS ?= $(shell nproc)
OUT ?= build/demo
BOARD ?= ulx3s-85f

.PHONY: help venv demo test test-full lint format bench docs lock clean
help:
	@sed -n '2,4s/^# //p' Makefile

venv: .venv/.complete
.venv/.complete: requirements/lock.txt requirements/install.sh pyproject.toml
	@requirements/install.sh

demo: venv
	@test -f $(OUT)/model/model.toml || $(BIN)/python models/digits/train.py --out $(OUT)/model
	@$(BIN)/bitwright build $(OUT)/model --board $(BOARD) --out $(OUT)/build

test: venv
	@$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal -m "not full"

test-full: venv
	@$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal

lint: venv
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: venv
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: venv
	@$(BIN)/python -m benchmarks $(BENCH)

docs: venv
	@$(BIN)/python -m toolchain.ir.document docs/semantics.md
	@$(BIN)/python -m toolchain.frontends.document docs/frontends.md
	@$(BIN)/python -m toolchain.backends.rtl.document docs/rtl.md

# Resolves the newest set that fits the pins; the result is committed. torch's local part is cut so that it is portable.
lock:
	@UV_FIND_LINKS="$${PIP_FIND_LINKS:-}" $(BIN)/uv pip compile -q --no-header --no-annotate --all-extras \
		-c requirements/pins.txt --override requirements/overrides.txt pyproject.toml -o .venv/lock.txt
	@sed -E 's/^(torch==[0-9.]+)\+.*/\1/' .venv/lock.txt > requirements/lock.txt

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
