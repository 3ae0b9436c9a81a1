VENV ?= .venv
PYTEST_ARGS ?=
GPU_ARGS ?=

.PHONY: help demo test gpu lint clean

help:
	@echo 'make demo   solve lens inversions beside jaxnnls, and simulate lenses with substructure: a table and two pictures'
	@echo 'make test   run the tests on the installed package'
	@echo 'make gpu    on a machine with an NVIDIA GPU: build, check and measure the CUDA kernels; nothing is fetched'
	@echo 'make lint   check the style'
	@echo 'make clean  remove what the others made'
	@echo 'Variables: VENV (.venv), PYTHON, LENSKERN_CPP (ON or OFF), LENSKERN_CUDA (AUTO, ON or OFF), JAX_VERSION, PYTEST_ARGS (--thorough), GPU_ARGS (--dry-run)'

demo:
	@sh scripts/install.sh "$(VENV)" bench demo simulate
	@"$(VENV)/bin/python" -m lenskern.bench.demo
	@rm -rf demo.zarr
	@"$(VENV)/bin/lenskern" simulate examples/substructure.yaml --n 16 --out demo.zarr
	@"$(VENV)/bin/lenskern" view demo.zarr --out demo_images.png --captions einstein_radius subhalos

test:
	@sh scripts/install.sh "$(VENV)" test
	@"$(VENV)/bin/python" -m pytest -n auto --maxprocesses=8 --dist loadfile --max-worker-restart=0 $(PYTEST_ARGS)

gpu:
	@"$${PYTHON:-python3}" scripts/gpu.py $(GPU_ARGS)

lint:
	@sh scripts/install.sh "$(VENV)" lint
	@"$(VENV)/bin/ruff" check .

clean:
	rm -rf .venv build dist demo.zarr .pytest_cache .hypothesis .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
