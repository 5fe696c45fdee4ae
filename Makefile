# `make demo` and `make test` are all that a new user needs; both set up .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: demo test test-openvino train test-all nightly lint format bench constraints clean

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto -m "not large"

test-all: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto

# The engine of an optional package, which `make test` skips: it takes 180 MB.
test-openvino: $(VENV)/.dev
	$(PIP) --editable ".[openvino]"
	$(BIN)/python -m pytest tests/runtime/test_openvino.py

# The property tests of the value analysis at full size: 20,000 random graphs.
nightly: $(VENV)/.dev
	HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest -n auto tests/properties

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.bench build/brevitas/.installed build/hls4ml/.installed
	$(BIN)/python benchmarks/run.py

# Pins what is installed now, by name and version only.
constraints: $(VENV)/.dev
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/ @ .*//' | grep '==' | sort -f > constraints.txt

# Writes the shipped models again, to the byte.
train: $(VENV)/.dev
	$(BIN)/python -m anybit.zoo.train.digits_mlp_2w2a

clean:
	rm -rf $(VENV)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(PIP) --editable ".[dev,train]"
	touch $@

# Peers of the benchmark that need packages of their own.
build/brevitas/.installed: constraints.txt
	$(PYTHON) -m venv build/brevitas
	build/brevitas/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt \
		torch==2.13.0 brevitas==0.13.4 onnx onnxoptimizer onnxscript
	touch $@

build/hls4ml/.installed: constraints.txt
	$(PYTHON) -m venv build/hls4ml
	build/hls4ml/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt \
		"hls4ml[onnx]==1.3.0" qonnx==1.0.0
	touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(PIP) --editable ".[bench,openvino]"
	touch $@
