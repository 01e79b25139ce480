"""What people bring becomes a plain folder that can be checked and published.

Hub snapshots, trainers' checkpoints and other libraries' key names are sound adapters in other
wrappings: what the engine reads is copied, with the model card; the rest is left out, and both are
told. Nothing is guessed: a name gets the beginning of the one layer of the base that it ends.
"""

import json
import re
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from serving.adapters import prompts
from serving.adapters.base_layers import PEFT_PREFIX, BaseLayers
from serving.adapters.manifests import PROMPTS
from serving.adapters.validation import CONFIG, STAMP, WEIGHTS, read_json, stamp
from serving.adapters.weights import data_begins, read_header
from serving.errors import AdapterRefused

CARD = "README.md"

_CARD_BYTES = 1 << 20
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_KEY = re.compile(
    r"(?P<module>.+)\.(?:lora_(?P<side>[AB])(?:\.(?!weight$)[A-Za-z0-9_-]+)?\.weight"
    r"|lora_embedding_(?P<embedding>[AB])(?:\.[A-Za-z0-9_-]+)?)"
)
# What wraps a whole model: torch.compile, data parallelism, PEFT itself.
_WRAPPERS = re.compile(r"(?:_orig_mod\.|module\.|base_model\.model\.|base_model\.)*")


@dataclass(frozen=True)
class Intake:
    """What was made of a folder.

    Attributes:
        folder: The plain folder.
        left_out: Names of what was not taken, sorted.
        prompts: The tasks that it brings prompts for.
        renamed: New names of tensors by their old ones; empty where all were PEFT's.
        made_for: The base that the adapter's configuration names, or "".
    """

    folder: Path
    left_out: tuple[str, ...]
    renamed: dict[str, str]
    made_for: str
    prompts: tuple[str, ...] = ()


def take(source: Path, target: Path, *, base_model: str, base_hash: str, base: Path) -> Intake:
    """Copy of a brought folder what an adapter is made of, and stamp it.

    Args:
        source: A PEFT folder, a Hub snapshot or a trainer's `checkpoint-N`.
        target: A new folder.
        base_model: The name of the base that serves.
        base_hash: Its `artifacts.model_hash`; a stamp that is there already is kept.
        base: Its files.

    Raises:
        AdapterRefused: There is no adapter in it, or one that cannot be read safely; or a prompt
            of its own cannot be used.
    """
    _check_there(source)
    names = [CONFIG, WEIGHTS]
    names += [name for name in (CARD, STAMP) if (source / name).exists()]
    brought = sorted((source / PROMPTS).glob("*.jinja")) if (source / PROMPTS).is_dir() else []
    tasks = tuple(prompts.task_of(path) for path in brought)
    names += [f"{PROMPTS}/{path.name}" for path in brought]
    files = {name: _inside(source, name) for name in names}
    if CARD in files and files[CARD].stat().st_size > _CARD_BYTES:
        raise AdapterRefused(f"{CARD} is over {_CARD_BYTES >> 20} MiB: it is no model card")
    target.mkdir(parents=True)
    for name, file in files.items():
        (target / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(file, target / name)
    prompts.of_folder(target)
    if STAMP not in files:
        stamp(target, base_model=base_model, base_hash=base_hash)
    renamed = _rename(target / WEIGHTS, BaseLayers.read(base))
    made_for = read_json(target, CONFIG).get("base_model_name_or_path")
    return Intake(
        target,
        tuple(sorted(_left_out(source, files))),
        renamed,
        made_for if isinstance(made_for, str) else "",
        tasks,
    )


def _left_out(source: Path, taken: Collection[str]) -> Iterator[str]:
    for path in source.iterdir():
        inside = path.iterdir() if path.name == PROMPTS and path.is_dir() else [path]
        for one in inside:
            if (name := one.relative_to(source).as_posix()) not in taken:
                yield name


def _check_there(source: Path) -> None:
    if not source.is_dir():
        raise AdapterRefused(f"{source} is no folder")
    if (source / WEIGHTS).exists():
        return
    if (source / "adapter_model.bin").exists():
        raise AdapterRefused(
            f"{source} holds adapter_model.bin, a pickle that runs code when it is read: save the "
            f"adapter anew as {WEIGHTS} (safe_serialization=True)"
        )
    if (source / "adapters.safetensors").exists():
        raise AdapterRefused(f"{source} holds an adapter of MLX: convert it to PEFT's {WEIGHTS}")
    steps = [int(m[1]) for path in source.iterdir() if (m := _CHECKPOINT.fullmatch(path.name))]
    if steps:
        raise AdapterRefused(
            f"{source} holds a training run's checkpoints: name one, such as "
            f"{source / f'checkpoint-{max(steps)}'}"
        )
    raise AdapterRefused(f"{source} holds no adapter: {WEIGHTS} is missing")


def _inside(source: Path, name: str) -> Path:
    """Follow a link that stays in the folder, or in the Hub cache that the folder is part of."""
    root = source.resolve()
    # A snapshot in the Hub's cache is REPOSITORY/snapshots/REVISION, linked to REPOSITORY/blobs.
    roots = [root]
    if root.parent.name == "snapshots":
        roots.append(root.parent.parent / "blobs")
    try:
        file = (source / name).resolve(strict=True)
    except FileNotFoundError as exc:
        raise AdapterRefused(f"{name} is missing from {source}") from exc
    except (OSError, RuntimeError) as exc:  # a link to itself
        raise AdapterRefused(f"{name} in {source} cannot be read: {exc}") from exc
    if not any(file.is_relative_to(allowed) for allowed in roots):
        raise AdapterRefused(f"{name} in {source} is a link that leads out of the folder")
    if not file.is_file():
        raise AdapterRefused(f"{name} in {source} is no file")
    return file


def _rename(file: Path, base: BaseLayers) -> dict[str, str]:
    """Give the tensors of a safetensors file PEFT's names; the data stays where it is."""
    tensors = read_header(file)
    names = {name: _peft_name(name, base) for name in tensors}
    twice = [name for name in names.values() if list(names.values()).count(name) > 1]
    if twice:
        raise AdapterRefused(f"{twice[0]} is there twice under different names")
    renamed = {old: new for old, new in names.items() if old != new}
    if not renamed:
        return {}
    begin = data_begins(file)
    part = file.with_suffix(".part")
    with file.open("rb") as source, part.open("wb") as target:
        source.seek(8)
        header = json.loads(source.read(begin - 8))
        header = {names[name]: header[name] for name in tensors}
        text = json.dumps({"__metadata__": {"format": "pt"}} | header).encode()
        text += b" " * (-len(text) % 8)  # the data stays aligned
        target.write(len(text).to_bytes(8, "little") + text)
        shutil.copyfileobj(source, target)
    part.replace(file)
    return renamed


def _peft_name(name: str, base: BaseLayers) -> str:
    """Return PEFT's name of a tensor; one that is no LoRA weight stays, to be refused by name."""
    match = _KEY.fullmatch(name)
    if match is None:
        return name
    module = match["module"]
    inner = module[_WRAPPERS.match(module).end() :]  # type: ignore[union-attr]  # or nothing
    module = PEFT_PREFIX + (base.whole_name(inner) or inner)
    if match["embedding"]:
        return f"{module}.lora_embedding_{match['embedding']}"
    return f"{module}.lora_{match['side']}.weight"
