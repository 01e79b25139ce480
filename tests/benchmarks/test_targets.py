from pathlib import Path

import pytest
import targets
import yaml

from serving.config import settings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config() -> dict[str, object]:
    content = yaml.safe_load((ROOT / "configs" / "demo.yaml").read_text())
    return targets.with_adapters(content, Path("/model"), ["line0", "line1"])


def test_the_configuration_has_room_for_summaries_and_a_line_for_each_adapter(config):
    loaded = settings.Settings.model_validate(config)
    assert loaded.engine["max_model_len"] >= 1500 + 128 + 64
    assert {"care", "line0", "line1"} <= loaded.lobs.keys()
    assert loaded.adapters.max_active >= 8
    assert next(iter(loaded.lobs)) == "care", "the first line has no adapter"


def test_ray_gets_the_engine_settings_that_the_command_line_gives_vllm(config):
    from serving.engine import args

    found = targets.engine_arguments(config)
    loaded = settings.Settings.model_validate(config)
    assert found["max_loras"] == loaded.adapters.max_active
    assert found["max_cpu_loras"] == loaded.adapters.max_cached
    assert found["max_lora_rank"] == loaded.adapters.max_rank
    assert loaded.engine.items() <= found.items()
    args.check(loaded.engine)


def test_litellm_passes_each_model_on_under_its_own_name():
    found = targets.litellm_config(["base", "line0"], "http://127.0.0.1:1", "sk-key")
    assert {m["model_name"]: m["litellm_params"]["model"] for m in found["model_list"]} == {
        "base": "hosted_vllm/base",
        "line0": "hosted_vllm/line0",
    }
    assert {m["litellm_params"]["api_base"] for m in found["model_list"]} == {
        "http://127.0.0.1:1/v1"
    }
    assert found["general_settings"]["master_key"] == "sk-key", "it checks keys, as we do"


def test_all_take_part_in_something_and_the_main_three_in_everything():
    parts = {
        n: [not targets.left_out(n, adapters) for adapters in (False, True)] for n in targets.MAKERS
    }
    assert all(any(part) for part in parts.values())
    assert all(all(parts[name]) for name in ("vllm", "switchboard", "litellm"))
    assert parts["ray_llm_haproxy"] == [True, False]
    assert parts["vllm_kernels_off"] == parts["switchboard_kernels_off"] == [False, True]


def test_litellm_is_pinned_to_no_release_that_is_known_to_carry_malware():
    assert targets.litellm_version() not in {"1.82.7", "1.82.8", "1.107.0"}
    pins = (ROOT / "benchmarks" / "serving" / "requirements.txt").read_text().splitlines()
    assert all("==" in pin for pin in pins if not pin.startswith("#"))
