# Switchboard's commands. Each makes the environment it needs first.
# EXTRA=gpu installs vLLM for NVIDIA GPUs instead of the CPU build.

SHELL := /bin/bash
EXTRA ?= cpu
VENV  ?= .venv
BIN   := $(VENV)/bin
# torch: without CUDA from the folder that PIP_FIND_LINKS names, or found by uv; with CUDA the locked
# file, also where there is no GPU while an image is built.
TORCH := $(if $(filter cpu,$(EXTRA)),$(if $(PIP_FIND_LINKS),--find-links "$(PIP_FIND_LINKS)",--torch-backend cpu))
# Tools of development; an image is made without (DEV=).
DEV   ?= ,dev
LOCK  := docker/lock-$(EXTRA).txt
# Two workers: what shares the servers in one, the rest in the other (tests/e2e/conftest.py).
TWO   := -n 2 --dist loadscope --no-loadscope-reorder
READY := $(VENV)/.ready-$(EXTRA)

.PHONY: docs chart setup demo test test-fast drills lint lock-gpu format bench-setup bench-serving bench-growth \
        bench-drain bench-flames bench-kernels bench-training bench-canary bench-judge bench-curation \
        bench-flywheel bench-pii bench-real bench-real-cycles real-setup real-model chaos drill-nodes plots \
        clean bench-claims bench-guards bench-guarded-stream bench-journal bench-batch \
        bench-knowledge bench-insights speech-model bench-speech bench-paired \
        bench-drafts bench-gateway

# Make the environment (a minute with a warm cache). Compiled once here, not at each import: a
# server imports vLLM in three processes one after the other, also where Python may write no
# bytecode.
setup: $(READY)

$(READY): pyproject.toml kernels/pyproject.toml $(LOCK) docker/overrides.txt
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	test -x $(BIN)/python || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==0.13.9"
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python $(TORCH) --constraints $(LOCK) \
	    --overrides docker/overrides.txt -e kernels -e ".[$(EXTRA),train$(DEV)]"
	touch $@

# The main job, end to end: serve, capture, edit, fine-tune, gate, hot-swap, roll back.
demo: $(READY)
	$(BIN)/switchboard demo $(ARGS)

# All tests but drills, with the real engine, in two workers; ARGS="-k routing" narrows them.
test: $(READY)
	$(BIN)/python -m pytest $(TWO) $(ARGS)

# Only what needs no engine and is not slow.
test-fast: $(READY)
	$(BIN)/python -m pytest $(TWO) -m "not e2e and not slow and not drill" $(ARGS)

# Rolling restarts, a stop under load and more kills: four engines at once, on 8 cores or more.
drills: $(READY)
	$(BIN)/python -m pytest -m drill $(ARGS)

# ruff, mypy, the directions between packages, and whether locked packages lie in vulnerable ranges
# (docker/audit.toml).
lint: $(READY)
	$(BIN)/python docker/audit.py
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=.:kernels $(BIN)/lint-imports
	cd kernels && ../$(BIN)/mypy

# Move docker/lock-gpu.txt to what pyproject.toml asks for, in the versions of docker/lock-cpu.txt
# where the GPU's engine takes them.
lock-gpu: $(READY)
	sed -nE 's/^([A-Za-z0-9._-]+==[^ ]+).*/\1/p' docker/lock-cpu.txt > docker/lock-gpu.txt
	echo "switchboard-kernels ; sys_platform == 'never'" | $(BIN)/uv pip compile pyproject.toml \
	    --quiet --extra gpu --extra train --overrides docker/overrides.txt --overrides /dev/stdin \
	    --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes \
	    --no-header --no-annotate --output-file docker/lock-gpu.txt > /dev/null
	sed -i '1i # The GPU environment without tools of development; `make lock-gpu` writes this.' docker/lock-gpu.txt

# The Helm chart, rendered by Helm's own library and held against Kubernetes' schemas.
chart: .cache/bench/chart/.ready
	$(BIN)/python -m pytest -q tests/test_chart.py

.cache/bench/chart/.ready: docker/helm/requirements.txt | $(READY)
	rm -rf $(@D)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes --target $(@D) -r $<
	touch $@

# The documentation as a site, every link checked: .cache/site.
docs: $(READY)
	$(BIN)/python -m mkdocs build --strict --config-file .mkdocs.yml

# Rewrite the code to the house format.
format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What bench-serving compares with and Switchboard itself does not need, in a place of its own.
bench-setup: .cache/bench/litellm/.ready

.cache/bench/litellm/.ready: benchmarks/serving/requirements.txt | $(READY)
	python3 -m venv .cache/bench/litellm
	$(BIN)/uv pip install --quiet --python .cache/bench/litellm/bin/python --only-binary :all: \
	    -r benchmarks/serving/requirements.txt
	touch $@

# Real weights, retrieval and a reader of GGUF, for what is measured on real dialogs. Without their
# dependencies and in a place of its own: none of it is part of Switchboard.
real-setup: .cache/bench/real/.ready

.cache/bench/real/.ready: benchmarks/real/requirements.txt | $(READY)
	rm -rf $(@D)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --target $(@D) -r $<
	touch $@

# SmolLM2-135M-Instruct as a checkpoint (a minute): .cache/switchboard/real-model.
real-model: .cache/switchboard/real-model/config.json

.cache/switchboard/real-model/config.json: benchmarks/real/model.py | .cache/bench/real/.ready
	PYTHONPATH=$(CURDIR)/.cache/bench/real $(BIN)/python benchmarks/real/model.py

# A Whisper model and a voice, by which transcriptions are tested: .cache/bench/speech.
speech-model: .cache/bench/speech/.ready

.cache/bench/speech/.ready: benchmarks/speech/requirements.txt | $(READY)
	rm -rf $(@D)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --target $(@D) -r $<
	touch $@

# vllm serve, ray.serve.llm, LiteLLM and Switchboard in turns (40 minutes); benchmarks/README.md.
bench-serving: $(READY)
	@$(MAKE) --no-print-directory bench-setup || echo "LiteLLM is not installed: it is skipped."
	$(BIN)/python benchmarks/serving/run.py $(ARGS)

# Switchboard beside bare vLLM, both up, request by request, with the machine's noise (20 minutes).
bench-paired: $(READY)
	$(BIN)/python benchmarks/serving/paired.py $(ARGS)

# Switchboard with 1 to 1,000 registered adapters, 8 or 64 of them active (15 minutes).
bench-growth: $(READY)
	$(BIN)/python benchmarks/serving/growth.py $(ARGS)

# What storing an interaction costs, polled for and in batches; no engine (7 minutes).
bench-drain: $(READY)
	$(BIN)/python benchmarks/serving/drain.py --stores sqlite,postgresql $(ARGS)

# What the gateway itself adds, with a stand-in for the engine: latency, requests a core (4 minutes).
bench-gateway: $(READY)
	$(BIN)/python benchmarks/serving/gateway_alone.py $(ARGS)

# Where the CPU time beside the engine goes, bare vLLM and Switchboard: flame graphs and a table.
bench-flames: $(READY)
	$(BIN)/python benchmarks/serving/flames.py $(ARGS)

# Kernels against vLLM's own, alternating in one run; results in benchmarks/results/.
bench-kernels: $(READY)
	$(BIN)/python benchmarks/kernels/run.py $(ARGS)

# Fine-tuning against plain TRL, same model, data and hardware (5 minutes); ARGS="--rounds 5".
bench-training: $(READY)
	$(BIN)/python benchmarks/finetuning/run.py $(ARGS)

# False alarms and power of the canary's tests, by simulation; results in benchmarks/results/.
bench-canary: $(READY)
	$(BIN)/python benchmarks/flywheel/canary.py $(ARGS)

# How often the judge errs on feedback as agents give it, 300 runs a case (twenty minutes).
bench-judge: $(READY)
	$(BIN)/python benchmarks/flywheel/judge.py $(ARGS)

# Curation of a million labelled interactions: time and memory; ARGS="--rows 100000" for fewer.
bench-curation: $(READY)
	$(BIN)/python benchmarks/flywheel/curation.py $(ARGS)

# Twelve days of drifting rules and one of poison: the flywheel, no retraining, no gate (10 minutes).
bench-flywheel: $(READY)
	$(BIN)/python benchmarks/flywheel/simulate.py $(ARGS)

# How well redaction recognises personal values on generated turns (a minute).
bench-pii: $(READY)
	$(BIN)/python benchmarks/privacy/pii.py $(ARGS)

# Claims that no source supports, seeded into real replies (STAR; 2 minutes), and a drill of 10,000.
bench-claims: $(READY)
	$(BIN)/python benchmarks/guards/claims.py $(ARGS)

# How often the passage that an agent looked up is found: by words, embeddings, both (STAR; 5 minutes).
bench-knowledge: .cache/bench/real/.ready
	PYTHONPATH=$(CURDIR)/.cache/bench/real $(BIN)/python benchmarks/knowledge/run.py $(ARGS)

# Intents by labelled examples, and proposed without any (banking77, MultiDoGO in SWITCHBOARD_BANKING_DIR,
# SWITCHBOARD_MULTIDOGO_DIR; 10 minutes).
bench-insights: .cache/bench/real/.ready
	PYTHONPATH=$(CURDIR)/.cache/bench/real $(BIN)/python benchmarks/insights/run.py $(ARGS)

# Word error rate and speed of transcriptions, on a synthetic voice (a minute).
bench-speech: .cache/bench/speech/.ready
	PYTHONPATH=$(CURDIR)/.cache/bench/speech $(BIN)/python benchmarks/speech/run.py $(ARGS)

# What the guards of requests find and mistake (a minute); customers' turns where SWITCHBOARD_STAR_DIR and
# SWITCHBOARD_ABCD_DIR name their folders.
bench-guards: .cache/bench/guards/.ready
	PYTHONPATH=$(CURDIR)/.cache/bench/guards $(BIN)/python benchmarks/guards/run.py $(ARGS)

.cache/bench/guards/.ready: benchmarks/guards/requirements.txt | $(READY)
	rm -rf $(@D)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes --target $(@D) -r $<
	touch $@

# What guards of answers add to a stream: off, flag, and block by sentence, on one server (5 minutes).
bench-guarded-stream: $(READY)
	$(BIN)/python benchmarks/guards/stream.py $(ARGS)

# A batch against the same requests sent live, and live latency beside a batch (10 minutes).
bench-batch: $(READY)
	$(BIN)/python benchmarks/serving/batch.py $(ARGS)

# What encrypting the journal costs the hot path (a few seconds).
bench-journal: $(READY)
	$(BIN)/python benchmarks/privacy/journal.py $(ARGS)

# Suggestions for real agents' replies (STAR, in SWITCHBOARD_STAR_DIR): base, prompts, retrieval, SFT.
bench-real: $(READY)
	@$(MAKE) --no-print-directory real-model
	PYTHONPATH=$(CURDIR)/.cache/bench/real $(BIN)/python benchmarks/real/suggestions.py $(ARGS)

# Completions of what agents typed (STAR's drafts), keystroke by keystroke: time, cache, silence (10 minutes).
bench-drafts: $(READY)
	@$(MAKE) --no-print-directory real-model
	PYTHONPATH=$(CURDIR)/.cache/bench/real $(BIN)/python benchmarks/real/drafts.py $(ARGS)

# Nights on STAR's hotel dialogs, one after the other: does each help, does the gate agree?
bench-real-cycles: $(READY)
	@$(MAKE) --no-print-directory real-model
	PYTHONPATH=$(CURDIR)/.cache/bench/real $(BIN)/python benchmarks/real/cycles.py $(ARGS)

# Kill each process 20 times under load, with PostgreSQL and with SQLite (up to 4 hours; ARGS="--rounds 3"),
# then soak with swaps for ten minutes; results in benchmarks/results/.
chaos: $(READY)
	$(BIN)/python benchmarks/chaos/kill.py $(ARGS)
	$(BIN)/python benchmarks/chaos/kill.py --store sqlite $(ARGS)
	$(BIN)/python benchmarks/chaos/soak.py

# A cluster of two nodes (a network namespace, root only): one lost and back, the link cut (10 minutes).
drill-nodes: .cache/bench/nodes/.ready
	$(BIN)/python benchmarks/chaos/two_nodes.py $(ARGS)

# An S3 to test with, and what reaches it beside the locked packages.
.cache/bench/nodes/.ready: benchmarks/chaos/s3-server.txt benchmarks/chaos/s3-client.txt | $(READY)
	rm -rf $(@D) && mkdir -p $(@D) && python3 -m venv $(@D)/moto
	$(BIN)/uv pip install --quiet --python $(@D)/moto/bin/python --only-binary :all: -r benchmarks/chaos/s3-server.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --target $(@D)/s3fs -r benchmarks/chaos/s3-client.txt
	touch $@

# Redraw the benchmarks' plots from their tables.
plots: $(READY)
	$(BIN)/python benchmarks/kernels/plot.py
	$(BIN)/python benchmarks/serving/plot.py

# Remove everything that the commands above made.
clean:
	rm -rf $(VENV) .cache demo data runs
