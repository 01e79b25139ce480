"""Adapter folders: how they are named, published, fetched and verified.

A published adapter is an ordinary PEFT folder at ``<root>/<lob>/<number>`` on local disk or any
fsspec URL, with a ``MANIFEST.json`` that gives the sha256 of each of its files (`manifests`). The
registry keeps the hash of the manifest, so a change of any byte is seen before the engine loads it.
Only names that `names.valid_lob` accepts and numbers ever become part of a path.
"""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from serving.adapters import manifests
from serving.adapters.manifests import MANIFEST, manifest, manifest_hash
from serving.adapters.validation import check_adapter, stamp
from serving.errors import AdapterRefused, ConfigError, Conflict, Unavailable
from serving.names import version_name

__all__ = [
    "MANIFEST",
    "check_adapter",
    "fetch",
    "filesystem_of",
    "manifest",
    "manifest_hash",
    "model_folder",
    "model_hash",
    "place",
    "publish",
    "stamp",
]

_TOKENIZER = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt")
_SAMPLES, _SAMPLE_BYTES = 64, 64 << 10


def filesystem_of(uri: str) -> tuple[Any, str]:
    """Return the filesystem of a URI, and the path on it.

    Raises:
        ConfigError: There is no such kind of filesystem, or its package is not installed.
    """
    try:
        filesystem, path = url_to_fs(uri)
    except (ImportError, ValueError) as exc:
        raise ConfigError(f"{uri} cannot be used: {exc}", param="adapters.uri") from exc
    return filesystem, path


def publish(folder: Path, root_uri: str, lob: str, number: int) -> tuple[str, str]:
    """Copy an adapter's folder to where replicas find it, whole or not at all.

    On local disk it appears by one rename, after its bytes are on the disk; elsewhere the
    manifest comes last, and a folder without one is no adapter.

    Returns:
        Its URI, and the hash of its manifest.

    Raises:
        AdapterRefused: `folder` holds anything but plain files.
        Conflict: This version was published before.
        Unavailable: The files cannot be written.
    """
    uri = place(root_uri, lob, number)
    filesystem, path = filesystem_of(uri)
    with _unavailable(f"cannot publish {lob}@{number} under {root_uri}"):
        if isinstance(filesystem, LocalFileSystem):
            return uri, _publish_local(folder, Path(uri))
        if filesystem.exists(path):
            raise Conflict(f"{lob}@{number} was published before")
        hashes = manifest(folder)
        for name in hashes:
            filesystem.makedirs(f"{path}/{name}".rpartition("/")[0], exist_ok=True)
            filesystem.put_file(str(folder / name), f"{path}/{name}")
        filesystem.pipe_file(f"{path}/{MANIFEST}", manifests.written(hashes).encode())
    return uri, manifest_hash(hashes)


def place(root_uri: str, lob: str, number: int) -> str:
    """Return the URI of a version's folder below `root_uri`; a local one is a whole path."""
    version_name(lob, number)
    filesystem, root = filesystem_of(root_uri)
    if isinstance(filesystem, LocalFileSystem):
        return str(Path(root) / lob / str(number))
    return f"{root_uri.rstrip('/')}/{lob}/{number}"


def _publish_local(folder: Path, target: Path) -> str:
    if target.exists():
        raise Conflict(f"{target} exists: a version is published once")
    names = manifest(folder)  # refuses before anything is written
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    part.mkdir(parents=True)
    try:
        for name in names:
            (part / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(folder / name, part / name, follow_symlinks=False)
        hashes = manifest(part)
        (part / MANIFEST).write_text(manifests.written(hashes))
        for path in (*part.rglob("*"), part):
            _fsync(path)
        part.rename(target)
        _fsync(target.parent)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return manifest_hash(hashes)


def fetch(uri: str, cache_dir: Path, expected_manifest_hash: str) -> Path:
    """Return a local folder whose every byte is what was registered.

    A local URI is verified where it lies; any other is copied once into `cache_dir`.

    Raises:
        AdapterRefused: A file is missing, changed or surplus, or the manifest is another.
        Unavailable: The files cannot be read or written now.
    """
    if not manifests.is_hash(expected_manifest_hash):
        raise AdapterRefused(f"{expected_manifest_hash!r} is no manifest hash")
    filesystem, remote = filesystem_of(uri)
    with _unavailable(f"cannot fetch {uri}"):
        if isinstance(filesystem, LocalFileSystem):
            return _verify(Path(remote), expected_manifest_hash)
        target = cache_dir / expected_manifest_hash
        if target.exists():
            try:
                return _verify(target, expected_manifest_hash)
            except AdapterRefused:
                shutil.rmtree(target)  # the copy rotted: fetch it anew
        part = cache_dir / f".{uuid.uuid4().hex}.part"
        part.mkdir(parents=True)
        try:
            _download(filesystem, remote, part)
            _verify(part, expected_manifest_hash)
            part.rename(target)
        except OSError:
            if not target.exists():
                raise
            _verify(target, expected_manifest_hash)  # another process was faster
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return target


def _download(filesystem: Any, remote: str, folder: Path) -> None:
    try:
        listed = manifests.read(filesystem.cat_file(f"{remote}/{MANIFEST}"), remote)
        (folder / MANIFEST).write_text(manifests.written(listed))
        for name in listed:
            (folder / name).parent.mkdir(exist_ok=True)
            filesystem.get_file(f"{remote}/{name}", str(folder / name))
    except FileNotFoundError as exc:
        raise AdapterRefused(f"{remote} is incomplete: {exc} is missing") from exc


def _verify(folder: Path, expected_manifest_hash: str) -> Path:
    try:
        listed = manifests.read((folder / MANIFEST).read_bytes(), str(folder))
    except FileNotFoundError as exc:
        raise AdapterRefused(f"{folder} has no {MANIFEST}: it is no published adapter") from exc
    if manifest_hash(listed) != expected_manifest_hash:
        raise AdapterRefused(f"the manifest of {folder} is not the one that was registered")
    found = manifest(folder)
    for name in sorted(listed.keys() | found.keys()):
        if name not in found:
            raise AdapterRefused(f"{name} is missing from {folder}")
        if name not in listed:
            raise AdapterRefused(f"{name} in {folder} is not in its manifest")
        if found[name] != listed[name]:
            raise AdapterRefused(f"{name} in {folder} was changed: its sha256 is another")
    return folder


def model_hash(model: str | Path) -> str:
    """Return a hash of a base model's configuration, vocabulary and weights, in under a second.

    Of each weight file it takes the size, the first 64 KiB (names, shapes and types of a
    safetensors file), the last, and 62 more places evenly between; small files are read whole.
    Every layer of another training run differs almost everywhere, so two models do not meet; a
    file damaged in one spot may. Chat templates are left out: prompts are versioned by themselves.

    Args:
        model: A local folder, or a Hugging Face id whose files are on this machine.

    Raises:
        ConfigError: There is no such model here.
    """
    folder = model_folder(model)
    weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    if not weights or not (folder / "config.json").is_file():
        raise ConfigError(f"{folder} holds no model: config.json or its weights are missing")
    digest = hashlib.sha256()
    for path in (folder / "config.json", *(folder / name for name in _TOKENIZER), *weights):
        if not path.exists():
            continue
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            if size <= _SAMPLES * _SAMPLE_BYTES or path not in weights:
                digest.update(file.read())
                continue
            for index in range(_SAMPLES):
                file.seek((size - _SAMPLE_BYTES) * index // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def model_folder(model: str | Path) -> Path:
    """Return where a model's files are, a local folder or the Hub's cache; raises ConfigError."""
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(model), local_files_only=True))
    except (OSError, ValueError) as exc:
        raise ConfigError(
            f"the model {str(model)!r} is neither a folder nor in the Hugging Face cache: "
            f"run `hf download {model}` first",
            param="model",
        ) from exc


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _unavailable(what: str) -> Iterator[None]:
    """Turn whatever a disk or a bucket raises into our error, and let our own pass."""
    try:
        yield
    except (AdapterRefused, Conflict):
        raise
    except Exception as exc:  # each fsspec backend has errors of its own
        raise Unavailable(
            "The adapters' storage does not answer. Try again.", reason=f"{what}: {exc}"
        ) from exc
