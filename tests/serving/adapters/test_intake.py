"""What people bring, and what is made of it."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from serving.adapters import artifacts, intake
from serving.adapters.validation import check_adapter
from serving.errors import AdapterRefused

LAYER = "model.layers.0.self_attn.q_proj"
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    save_file({f"{LAYER}.weight": np.zeros((32, 16), np.float32)}, folder / "model.safetensors")
    return folder


@pytest.fixture
def taken(tmp_path: Path, base: Path):
    def take(source: Path) -> intake.Intake:
        made = intake.take(
            source, tmp_path / "plain", base_model="base", base_hash="base-hash", base=base
        )
        assert check_adapter(made.folder, base_hash="base-hash", max_rank=8, base_folder=base) == 4
        artifacts.publish(made.folder, str(tmp_path / "root"), "care", 1)
        return made

    return take


def test_peft_s_own_folder_is_taken_as_it_is(adapter, taken) -> None:
    source = adapter()
    made = taken(source)
    assert artifacts.manifest(made.folder) == artifacts.manifest(source)
    assert (made.left_out, made.renamed, made.made_for) == ((), {}, "")


def test_a_trainers_checkpoint_leaves_its_optimizer_and_keeps_its_card(adapter, taken) -> None:
    source = adapter(base_model_name_or_path="somebody/model")
    surplus = ("optimizer.pt", "rng_state.pth", "scheduler.pt", "trainer_state.json")
    for name in surplus:
        (source / name).write_bytes(b"x")
    (source / ".cache").mkdir()
    (source / "README.md").write_text("# Care\n")
    (source / "switchboard.json").unlink()
    made = taken(source)
    assert made.left_out == (".cache", *surplus)
    assert made.made_for == "somebody/model"
    assert (made.folder / "README.md").read_text() == "# Care\n"
    assert json.loads((made.folder / "switchboard.json").read_text())["base_hash"] == "base-hash"


def hub_cache(source: Path, root: Path) -> Path:
    """Lay a folder out as the Hub's cache does: links to blobs beside the snapshots."""
    snapshot = root / "models--a--b" / "snapshots" / "0f"
    (root / "models--a--b" / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (snapshot / ".gitattributes").write_text("* text")
    for file in source.iterdir():
        blob = root / "models--a--b" / "blobs" / file.name.encode().hex()
        file.rename(blob)
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
    return snapshot


def test_a_snapshot_of_the_hub_is_taken_through_its_links(adapter, taken, tmp_path: Path) -> None:
    made = taken(hub_cache(adapter(), tmp_path / "hub"))
    assert made.left_out == (".gitattributes",)
    assert not any(path.is_symlink() for path in made.folder.iterdir())


def test_a_link_inside_the_folder_is_followed(adapter, taken) -> None:
    source = adapter()
    (source / "real").mkdir()
    (source / WEIGHTS).rename(source / "real" / WEIGHTS)
    (source / WEIGHTS).symlink_to(Path("real") / WEIGHTS)
    assert taken(source).left_out == ("real",)


@pytest.mark.parametrize("name", ["README.md", WEIGHTS])
def test_a_link_out_of_the_folder_is_refused(adapter, taken, tmp_path: Path, name: str) -> None:
    source = adapter()
    (tmp_path / "secret").write_text("key")
    (source / name).unlink(missing_ok=True)
    (source / name).symlink_to(tmp_path / "secret")
    with pytest.raises(AdapterRefused, match=f"{name} .* leads out of the folder"):
        taken(source)


@pytest.mark.parametrize(
    "pattern",
    [
        f"{LAYER}.lora_{{}}.weight",
        f"base_model.model.{LAYER}.lora_{{}}.default.weight",
        f"base_model.{LAYER}.lora_{{}}.care.weight",
        f"module.base_model.model.{LAYER}.lora_{{}}.weight",
        f"base_model.model._orig_mod.{LAYER}.lora_{{}}.weight",
        f"{LAYER.removeprefix('model.')}.lora_{{}}.default.weight",
    ],
)
def test_other_trainers_names_become_pefts_and_are_told(adapter, taken, pattern: str) -> None:
    values = {"A": np.full((4, 16), 0.5, np.float32), "B": np.full((32, 4), 0.25, np.float16)}
    made = taken(adapter(tensors={pattern.format(side): v for side, v in values.items()}))
    assert made.renamed == {
        pattern.format(side): f"base_model.model.{LAYER}.lora_{side}.weight" for side in values
    }
    for name, tensor in load_file(made.folder / WEIGHTS).items():
        assert np.array_equal(tensor, values[name[-len("A.weight")]])


def test_an_embedding_s_name_is_mapped_too(adapter, base: Path, tmp_path: Path) -> None:
    save_file({"model.embed.weight": np.zeros((9, 16), np.float32)}, base / "model.safetensors")
    ones = {"A": np.ones((4, 9), np.float32), "B": np.ones((16, 4), np.float32)}
    source = adapter(
        target_modules=["embed"],
        tensors={f"embed.lora_embedding_{side}.default": v for side, v in ones.items()},
    )
    made = intake.take(source, tmp_path / "p", base_model="b", base_hash="base-hash", base=base)
    assert sorted(made.renamed.values()) == [
        f"base_model.model.model.embed.lora_embedding_{side}" for side in ones
    ]
    assert check_adapter(made.folder, base_hash="base-hash", max_rank=8, base_folder=base) == 4


def test_two_names_of_one_tensor_are_refused(adapter, taken) -> None:
    two = {f"{LAYER}.lora_A{end}.weight": np.ones((4, 16), np.float32) for end in ("", ".default")}
    with pytest.raises(AdapterRefused, match="twice under different names"):
        taken(adapter(tensors=two))


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ((), "holds no adapter: adapter_model.safetensors is missing"),
        (("adapter_model.bin",), "a pickle that runs code"),
        (("adapters.safetensors",), "an adapter of MLX"),
        (("checkpoint-9", "checkpoint-100", "checkpoint-x"), "such as .*checkpoint-100"),
        ((WEIGHTS,), "adapter_config.json is missing"),
    ],
)
def test_a_folder_without_a_sound_adapter_is_told_what_it_is(
    taken, tmp_path: Path, names: tuple[str, ...], reason: str
) -> None:
    source = tmp_path / "brought"
    source.mkdir()
    for name in names:
        (source / name).touch()
    with pytest.raises(AdapterRefused, match=reason):
        taken(source)
    with pytest.raises(AdapterRefused, match="is no folder"):
        taken(tmp_path / "nowhere")


def test_a_stamp_for_another_base_stays_and_is_refused(adapter, taken) -> None:
    source = adapter()
    artifacts.stamp(source, base_model="other", base_hash="other-hash")
    with pytest.raises(AdapterRefused, match="another base model"):
        taken(source)


def test_prompts_of_its_own_come_along(adapter, taken) -> None:
    source = adapter()
    (source / "prompts").mkdir()
    (source / "prompts" / "suggestion.jinja").write_text("{% block user %}OWN{% endblock %}")
    (source / "prompts" / "notes.txt").write_text("x")
    made = taken(source)
    assert (made.prompts, made.left_out) == (("suggestion",), ("prompts/notes.txt",))
    assert (made.folder / "prompts" / "suggestion.jinja").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sugestion.jinja", "{% block user %}OWN{% endblock %}"),
        ("suggestion.jinja", "{% block user %}{{ nobody }}{% endblock %}"),
    ],
)
def test_a_prompt_that_cannot_be_used_is_refused(adapter, taken, name: str, text: str) -> None:
    source = adapter()
    (source / "prompts").mkdir()
    (source / "prompts" / name).write_text(text)
    with pytest.raises(AdapterRefused, match=name):
        taken(source)
