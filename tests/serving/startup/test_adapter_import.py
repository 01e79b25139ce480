"""`switchboard adapters import` over a real store, as a person runs it."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner, Result

from serving.adapters import artifacts
from serving.adapters.registry import Registry
from serving.cli import app
from serving.errors import AdapterRefused, NotFound, SwitchboardError
from serving.store.database import Database
from serving.store.records import AdapterVersion

LAYER = "model.layers.0.self_attn.q_proj"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    save_file({f"{LAYER}.weight": np.zeros((32, 16), np.float32)}, base / "model.safetensors")
    (tmp_path / "prompts").mkdir()
    file = tmp_path / "s.yaml"
    file.write_text(
        f"model: {base}\nlobs: {{care: {{}}}}\nprompts: {tmp_path / 'prompts'}\n"
        f"store: {{url: 'sqlite:///{tmp_path / 'store.sqlite'}'}}\n"
        f"adapters: {{uri: {tmp_path / 'adapters'}}}\n"
    )
    return file


def call(config: Path, folder: Path, lob: str = "care") -> Result:
    arguments = ["adapters", "import", str(folder), "--lob", lob, "--config", str(config)]
    result = CliRunner().invoke(app, arguments)
    if result.exception and isinstance(result.exception, SwitchboardError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def versions(tmp_path: Path) -> list[AdapterVersion]:
    async def read() -> list[AdapterVersion]:
        db = Database(f"sqlite:///{tmp_path / 'store.sqlite'}")
        await db.open()
        try:
            return await Registry(db, tmp_path / "adapters").list()
        finally:
            await db.close()

    return asyncio.run(read())


def test_what_was_trained_elsewhere_becomes_a_candidate_with_its_card(
    config: Path, adapter, tmp_path: Path
) -> None:
    names = {side: f"{LAYER}.lora_{side}.default.weight" for side in "AB"}
    folder = adapter(
        base_model_name_or_path="somebody/model",
        tensors={
            names["A"]: np.ones((4, 16), np.float32),
            names["B"]: np.ones((32, 4), np.float32),
        },
    )
    (folder / "switchboard.json").unlink()
    (folder / "optimizer.pt").touch()
    (folder / "README.md").write_text("# Care")
    output = call(config, folder).output
    assert "care@1 is registered as a candidate" in output
    assert "Left out: optimizer.pt" in output
    assert f"Renamed 2 tensors, such as {names['A']} to base_model.model.{LAYER}.lora_A" in output
    assert "names the base 'somebody/model'" in output
    (version,) = versions(tmp_path)
    assert (version.state, version.rank, version.parent) == ("candidate", 4, None)
    fetched = artifacts.fetch(version.uri, tmp_path / "cache", version.manifest_hash)
    assert (fetched / "README.md").read_text() == "# Care"
    assert not (fetched / "optimizer.pt").exists()


def test_what_would_have_no_effect_is_refused_before_it_is_registered(
    config: Path, adapter, tmp_path: Path
) -> None:
    folder = adapter(
        tensors={
            "model.layers.7.self_attn.q_proj.lora_A.weight": np.ones((4, 16), np.float32),
            "model.layers.7.self_attn.q_proj.lora_B.weight": np.ones((32, 4), np.float32),
        }
    )
    (folder / "switchboard.json").unlink()
    with pytest.raises(AdapterRefused, match=r"layers\.7\.self_attn\.q_proj is no layer"):
        call(config, folder)
    assert versions(tmp_path) == []
    assert not (tmp_path / "adapters").exists()


def test_an_unknown_line_of_business_is_named(config: Path, adapter) -> None:
    with pytest.raises(NotFound, match="there are: care"):
        call(config, adapter(), lob="cars")
