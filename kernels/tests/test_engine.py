"""Through vLLM's real engine: no request's answer depends on who shares its batch."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.tiny_checkpoint import make_adapter, make_checkpoint

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="needs vLLM"),
    pytest.mark.slow,
    pytest.mark.xdist_group("kernels"),  # one worker, so that each engine runs once
    pytest.mark.skipif(torch.cuda.is_available(), reason="tests vLLM's CPU engine"),
]

ADAPTERS = ("care", "sales")


def run_engine(folder: Path, switch: str, *, eager: bool, dtype: str) -> list[dict]:
    """Decode base, care and sales requests alone and together in one engine process."""
    make_checkpoint(folder / "base")
    for seed, name in enumerate(ADAPTERS, start=1):
        # sales lacks k and gate: packed modules with missing slices.
        targets = ("q_proj", "v_proj", "o_proj", "up_proj", "down_proj") if seed == 2 else None
        options = {} if targets is None else {"targets": targets}
        make_adapter(folder / name, folder / "base", rank=4 * seed, seed=seed, **options)
    generator = torch.Generator().manual_seed(7)
    requests = [
        {
            "model": model,
            "tokens": torch.randint(1, 257, (5 + number,), generator=generator).tolist(),
        }
        for number in range(6)
        for model in ("base", *ADAPTERS)
    ]
    plan = {
        "dtype": dtype,
        "eager": eager,
        # As many slots as adapters: with a spare one the leak is of an empty adapter, unseen.
        "slots": len(ADAPTERS),
        "new_tokens": 12,
        "adapters": ADAPTERS,
        "requests": requests,
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    # The interpreter that conftest chose for the Triton tests is not the engine's business.
    inherited = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment = inherited | {
        "SWITCHBOARD_KERNELS": switch,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, str(Path(__file__).with_name("engine_session.py")), str(folder)]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    outputs = json.loads((folder / "outputs.json").read_text())
    return [
        {"model": request["model"], "alone": alone, "mixed": mixed}
        for request, alone, mixed in zip(requests, outputs["alone"], outputs["mixed"], strict=True)
    ]


def agreeing(outputs: list[dict], model: str) -> int:
    return sum(o["alone"] == o["mixed"] for o in outputs if o["model"] == model)


@pytest.fixture(scope="module")
def with_plugin(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return run_engine(tmp_path_factory.mktemp("on"), "on", eager=False, dtype="float32")


def test_base_requests_in_a_mixed_batch_equal_their_outputs_alone(with_plugin):
    assert agreeing(with_plugin, "base") == 6


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_adapter_requests_in_a_mixed_batch_equal_their_outputs_alone(with_plugin, adapter):
    assert agreeing(with_plugin, adapter) == 6


def test_each_adapter_changes_the_outputs(with_plugin):
    by_model = {
        m: [o["alone"] for o in with_plugin if o["model"] == m] for m in ("base", *ADAPTERS)
    }
    assert all(a != b for a, b in zip(by_model["base"], by_model["care"], strict=True))
    assert all(a != b for a, b in zip(by_model["care"], by_model["sales"], strict=True))


def test_vllm_alone_leaks_an_adapter_into_base_requests(tmp_path, with_plugin):
    """The bug this package fixes; when it fails, vLLM is fixed and the README must say so."""
    without = run_engine(tmp_path, "off", eager=True, dtype="float32")
    assert agreeing(without, "base") < 6
    for ours, theirs in zip(with_plugin, without, strict=True):
        assert ours["alone"] == theirs["alone"]
