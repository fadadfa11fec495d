PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: install train test test-slow test-gpu check format build lock clean

# exact versions from requirements.lock (as constraints, so that each platform takes only what it needs)
install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[dev,text,trl,gpu]'
	touch $@

# train DISCOVER on the default maze; options: make train ARGS='seeds=4 env=point_maze/4d'
train: install
	$(BIN)/discover-rl train experiment=quickstart $(ARGS)

test: install
	$(BIN)/python -m pytest -n auto -m 'not slow and not gpu' $(ARGS)

test-slow: install
	$(BIN)/python -m pytest -m slow $(ARGS)

test-gpu: install
	$(BIN)/python -m pytest -m gpu $(ARGS)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

build: install
	$(BIN)/python -m build --wheel

# write the versions installed now to the lock; packages of one platform only (CUDA) are left to the index;
# triton must stay the version that torch's CUDA build asks for, or the lock cannot be installed there
lock:
	$(BIN)/python -m pip freeze --exclude-editable | grep -viE '^(nvidia|cuda|discover)' | sed 's/+cpu$$//; s/+cpu //' > requirements.lock

clean:
	rm -rf $(VENV) dist .pytest_cache .ruff_cache
