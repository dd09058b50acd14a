# Everything from a bare clone with git, make and Python 3.11 to 3.14. Settings of uv (UV_INDEX_URL, UV_CACHE_DIR,
# UV_OFFLINE and so on) are left as you set them. A path to a Python may be given: make install PYTHON=/path/to/python3
.PHONY: help install demo page test test-all check fix bench lock
.DEFAULT_GOAL := help

BIN := .venv/bin
INSTALLED := .venv/.installed

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

install: $(INSTALLED) ## .venv with both distributions and the test tools

demo: $(INSTALLED) ## a teacher, a small student and the same student alone on digits, with a report; minutes on two cores
	$(BIN)/limbeck demo

# The browser's ONNX Runtime for `limbeck serve`: one version, whose npm package is checked by npm. Settings of npm are
# left as you set them.
ORT_WEB := 1.30.0
PAGE := src/limbeck/page/onnxruntime-web

page: $(PAGE)/.$(ORT_WEB) ## the browser's ONNX Runtime for `limbeck serve`: 33 MB through npm, 15 MB kept

$(PAGE)/.$(ORT_WEB):
	@npm --version >/dev/null 2>&1 || { echo "npm is not on this machine; it comes with Node.js" >&2; exit 1; }
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; mkdir -p $(PAGE); rm -f $(PAGE)/.[0-9]*; \
	npm pack --silent --pack-destination "$$folder" onnxruntime-web@$(ORT_WEB) >/dev/null; \
	tar -xzf "$$folder"/onnxruntime-web-$(ORT_WEB).tgz -C "$$folder"; \
	cd "$$folder/package" && cp dist/ort.wasm.min.mjs dist/ort-wasm-simd-threaded.mjs dist/ort-wasm-simd-threaded.wasm \
		"$(CURDIR)/$(PAGE)/"
	@touch $@

# One process for each core and one thread in each: the networks are small, and threads would only wait for each other.
TESTS = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadscope

test: $(INSTALLED) ## the tests that take seconds
	$(TESTS) -m "not slow"

test-all: $(INSTALLED) ## all tests
	$(TESTS)

check: $(INSTALLED) ## style, types, layers, file sizes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/python -m pytest -q tests/test_house.py -k size

fix: $(INSTALLED) ## what a machine can mend of `check`, and the README's tree
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python tests/readme_tree.py

bench: $(INSTALLED) ## every benchmark in benchmarks/, one after the other
	@set -e; for file in benchmarks/*.py; do [ -e "$$file" ] || continue; echo "== $$file"; $(BIN)/python "$$file"; done

# A private uv in .tools when there is none on PATH; the Python of the system is left alone.
FIND_UV = uv=uv; $$uv --version >/dev/null 2>&1 || uv=.tools/bin/uv; \
	if ! $$uv --version >/dev/null 2>&1; then \
		echo "uv is not on this machine: getting it into .tools (about 25 MB)"; \
		{ python3 -m venv .tools && .tools/bin/python -m pip install --quiet uv; } || \
		python3 -m pip install --quiet --target .tools uv || \
		{ echo "Could not get uv. Try: install python3-venv or pip, or uv itself, and run make again." >&2; exit 1; }; \
	fi

# The newest Python that runs; without one, uv fetches one or says what is missing.
FIND_PYTHON = python="$(PYTHON)"; \
	for name in python3.14 python3.13 python3.12 python3.11; do \
		if [ -z "$$python" ] && $$name -c "" >/dev/null 2>&1; then python=$$(command -v $$name); fi; \
	done; python=$${python:->=3.11,<3.15}

$(INSTALLED): requirements.lock pyproject.toml runtime/pyproject.toml
	@set -e; $(FIND_UV); \
	if ! $(BIN)/python -c "import torch" >/dev/null 2>&1; then \
		echo "Installing into .venv: about 3 GB to download on Linux (torch with its CUDA libraries), about 6 GB on disk."; \
		echo "macOS and Windows get a torch without CUDA, which is much smaller. What is in uv's cache is not downloaded."; \
	fi; \
	if ! $(BIN)/python -c "" >/dev/null 2>&1; then \
		$(FIND_PYTHON); $$uv venv --quiet --allow-existing --python "$$python" .venv; \
	fi; \
	$$uv pip install --python $(BIN)/python --no-deps -r requirements.lock -e . -e runtime; \
	$(BIN)/python -c "import limbeck, limbeck_runtime, torch"
	@touch $@

# Without `boosting`: XGBoost brings 300 MB of CUDA libraries of its own; without `ray`: its wheel has 79 MB. Their tests
# say that they skip.
LOCKED_EXTRAS := data ecg language micro onnx server sklearn vision trackers

lock: ## requirements.lock anew, with the newest versions that fit
	@set -e; $(FIND_UV); $$uv pip compile --quiet --upgrade --universal --python-version 3.11 \
		pyproject.toml runtime/pyproject.toml --group dev $(addprefix --extra ,$(LOCKED_EXTRAS)) \
		--no-header --no-annotate --output-file requirements.lock
