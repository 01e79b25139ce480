import errno
import json
import uuid
from pathlib import Path

import fsspec
import pytest

from serving import names
from serving.adapters import artifacts
from serving.errors import AdapterRefused, ConfigError, Conflict, InvalidRequest, Unavailable


@pytest.fixture(params=["local", "file://", "memory://"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return a place to publish to, of each kind in turn."""
    return {
        "local": str(tmp_path / "root"),
        "file://": f"file://{tmp_path / 'root'}",
        "memory://": f"memory://{uuid.uuid4().hex}/root",
    }[request.param]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Care",
        "2care",
        "-care",
        "a" * 33,
        "care\n",
        "çare",
        "ca re",
        "care@1",
        "../care",
        "care/..",
        "/etc",
        ".",
        "..",
        "care\0",
        "c%2fare",
        "file:x",
    ],
)
def test_no_other_name_ever_reaches_a_path(name: str, tmp_path: Path, adapter) -> None:
    assert not names.valid_lob(name)
    with pytest.raises(InvalidRequest):
        names.parse_version(f"{name}@1")
    with pytest.raises(InvalidRequest):
        artifacts.publish(adapter(), str(tmp_path / "root"), name, 1)
    assert not (tmp_path / "root").exists()


def test_a_published_adapter_comes_back_the_same(root: str, adapter, tmp_path: Path) -> None:
    folder = adapter()
    uri, digest = artifacts.publish(folder, root, "care", 1)
    assert digest == artifacts.manifest_hash(artifacts.manifest(folder))
    for _ in range(2):  # the second time from the cache
        fetched = artifacts.fetch(uri, tmp_path / "cache", digest)
        assert artifacts.manifest(fetched) == artifacts.manifest(folder)
        assert artifacts.check_adapter(fetched, base_hash="base-hash", max_rank=4) == 4
    if not root.startswith("memory"):
        assert not (tmp_path / "cache").exists()
        assert fetched == tmp_path / "root" / "care" / "1"


def test_a_version_is_published_once(root: str, adapter) -> None:
    artifacts.publish(adapter(), root, "care", 1)
    with pytest.raises(Conflict):
        artifacts.publish(adapter(), root, "care", 1)
    artifacts.publish(adapter(), root, "care", 2)


@pytest.mark.parametrize("kind", ["link", "folder", "hidden", "missing"])
def test_a_folder_of_anything_but_plain_files_is_refused(
    root: str, adapter, tmp_path: Path, kind: str
) -> None:
    folder = adapter()
    if kind == "link":
        (folder / "weights").symlink_to("/etc/passwd")
    elif kind == "folder":
        (folder / "checkpoint-1").mkdir()
    elif kind == "hidden":
        (folder / ".hidden").touch()
    else:
        folder = tmp_path / "missing"
    with pytest.raises(AdapterRefused):
        artifacts.publish(folder, root, "care", 1)
    artifacts.publish(adapter(), root, "care", 1)  # nothing was left in the way


def change_one_byte(folder: Path) -> None:
    data = bytearray((folder / "adapter_model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "adapter_model.safetensors").write_bytes(data)


def forge_manifest(folder: Path) -> None:
    change_one_byte(folder)
    (folder / artifacts.MANIFEST).write_text(json.dumps(artifacts.manifest(folder)))


TAMPERED = {
    "was changed": change_one_byte,
    "not the one that was registered": forge_manifest,
    "is missing": lambda folder: (folder / "adapter_config.json").unlink(),
    "not in its manifest": lambda folder: (folder / "surplus.py").touch(),
    "no published adapter": lambda folder: (folder / artifacts.MANIFEST).unlink(),
    "no JSON": lambda folder: (folder / artifacts.MANIFEST).write_text("{"),
}


@pytest.mark.parametrize("reason", TAMPERED)
def test_a_tampered_adapter_is_refused(adapter, tmp_path: Path, reason: str) -> None:
    uri, digest = artifacts.publish(adapter(), str(tmp_path / "root"), "care", 1)
    TAMPERED[reason](Path(uri))
    with pytest.raises(AdapterRefused, match=reason):
        artifacts.fetch(uri, tmp_path / "cache", digest)


def test_a_tampered_remote_adapter_is_refused_and_leaves_nothing(adapter, tmp_path: Path) -> None:
    uri, digest = artifacts.publish(adapter(), f"memory://{uuid.uuid4().hex}", "care", 1)
    memory = fsspec.filesystem("memory")
    memory.pipe_file(f"{uri}/adapter_config.json".removeprefix("memory:/"), b"{}")
    with pytest.raises(AdapterRefused, match="was changed"):
        artifacts.fetch(uri, tmp_path / "cache", digest)
    assert list((tmp_path / "cache").iterdir()) == []
    memory.rm_file(f"{uri}/adapter_config.json".removeprefix("memory:/"))
    with pytest.raises(AdapterRefused, match="incomplete"):
        artifacts.fetch(uri, tmp_path / "cache", digest)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/b", "..", ".hidden", "", "a\n"])
def test_a_manifest_cannot_write_outside_the_cache(tmp_path: Path, name: str) -> None:
    memory = fsspec.filesystem("memory")
    path = f"/{uuid.uuid4().hex}/care/1"
    listed = {name: "0" * 64}
    memory.pipe_file(f"{path}/{artifacts.MANIFEST}", json.dumps(listed).encode())
    with pytest.raises(AdapterRefused, match="plain file names"):
        artifacts.fetch(f"memory:/{path}", tmp_path / "cache", artifacts.manifest_hash(listed))


def test_a_manifest_hash_cannot_lead_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(AdapterRefused, match="no manifest hash"):
        artifacts.fetch("memory://x", tmp_path, "../../etc")


def test_a_rotten_copy_in_the_cache_is_fetched_anew(adapter, tmp_path: Path) -> None:
    uri, digest = artifacts.publish(adapter(), f"memory://{uuid.uuid4().hex}", "care", 1)
    change_one_byte(artifacts.fetch(uri, tmp_path, digest))
    again = artifacts.fetch(uri, tmp_path, digest)
    assert artifacts.manifest_hash(artifacts.manifest(again)) == digest


def test_a_full_disk_is_told_and_leaves_nothing(adapter, tmp_path: Path, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = adapter()
    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(Unavailable, match=r"cannot publish care@1 .*No space left"):
        artifacts.publish(folder, str(tmp_path / "root"), "care", 1)
    assert list((tmp_path / "root" / "care").iterdir()) == []


def test_an_unknown_filesystem_is_told(adapter, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        artifacts.publish(adapter(), "nowhere://bucket", "care", 1)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(1000))
    return folder


def test_a_models_hash_follows_all_that_an_adapter_depends_on(base: Path) -> None:
    hashes = {artifacts.model_hash(base)}
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        with (base / name).open("ab") as file:
            file.write(b" ")
        hashes.add(artifacts.model_hash(base))
    (base / "model.safetensors").rename(base / "other.safetensors")
    hashes.add(artifacts.model_hash(base))
    assert len(hashes) == 5
    before = artifacts.model_hash(base)
    (base / "README.md").write_text("no matter")
    (base / "chat_template.jinja").write_text("no matter")
    assert artifacts.model_hash(base) == before


def test_a_models_hash_sees_another_training_run_in_large_weights(base: Path) -> None:
    size = 64 << 20
    with (base / "model.safetensors").open("wb") as file:
        file.truncate(size)
    before = artifacts.model_hash(base)
    assert artifacts.model_hash(str(base)) == before
    for place in (0, size // 63 * 31, size - 1):
        with (base / "model.safetensors").open("r+b") as file:
            file.seek(place)
            file.write(b"x")
        assert artifacts.model_hash(base) != before
        before = artifacts.model_hash(base)


def test_no_model_is_told_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no model"):
        artifacts.model_hash(tmp_path)
    with pytest.raises(ConfigError, match="hf download"):
        artifacts.model_hash("nobody/no-such-model")


def test_a_published_adapter_brings_its_prompts(root: str, adapter, tmp_path: Path) -> None:
    folder = adapter()
    (folder / "prompts").mkdir()
    (folder / "prompts" / "summary.jinja").write_text("{% block user %}OWN{% endblock %}")
    uri, digest = artifacts.publish(folder, root, "care", 1)
    fetched = artifacts.fetch(uri, tmp_path / "cache", digest)
    assert artifacts.manifest(fetched) == artifacts.manifest(folder)
    assert (fetched / "prompts" / "summary.jinja").read_bytes().startswith(b"{% block user")


def test_a_prompt_that_was_changed_is_refused(adapter, tmp_path: Path) -> None:
    folder = adapter()
    (folder / "prompts").mkdir()
    (folder / "prompts" / "summary.jinja").write_text("{% block user %}OWN{% endblock %}")
    uri, digest = artifacts.publish(folder, str(tmp_path / "root"), "care", 1)
    (Path(uri) / "prompts" / "summary.jinja").write_text("{% block user %}OTHER{% endblock %}")
    with pytest.raises(AdapterRefused, match=r"prompts/summary\.jinja .* was changed"):
        artifacts.fetch(uri, tmp_path / "cache", digest)
