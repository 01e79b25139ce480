"""Is this folder an adapter that the engine can serve on this base?

The engine finds some of these faults only while it loads, when it may already be too late, and
some never: it ignores `alpha_pattern`, for one, and answers with wrong weights.
"""

import json
import math
import re
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from serving.errors import AdapterRefused

if TYPE_CHECKING:
    import numpy as np

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
STAMP = "switchboard.json"

_TENSOR = re.compile(r"(.+)\.(?:lora_[AB]\.weight|lora_embedding_[AB])")
_MAX_HEADER_BYTES = 64 << 20
_UNSUPPORTED = {
    "use_dora": "DoRA",
    "use_qalora": "QA-LoRA",
    "use_bdlora": "BD-LoRA",
    "lora_bias": "a bias on B",
    "modules_to_save": "whole modules beside the adapter",
    "trainable_token_indices": "trained tokens beside the adapter",
    "target_parameters": "adapters on bare parameters",
    "rank_pattern": "a rank per module",
    "alpha_pattern": "an alpha per module",
    "layer_replication": "replicated layers",
    "alora_invocation_tokens": "activated LoRA",
    "arrow_config": "Arrow routing",
    "kasa_config": "KaSA",
}
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


class _Type(NamedTuple):
    bytes: int
    view: str
    exponent: int
    """The bits that are all set in an infinity or a NaN, and in nothing else."""


_TYPES = {
    "F32": _Type(4, "<u4", 0x7F80_0000),
    "F16": _Type(2, "<u2", 0x7C00),
    "BF16": _Type(2, "<u2", 0x7F80),
}


class _Tensor(NamedTuple):
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def stamp(folder: Path, *, base_model: str, base_hash: str) -> None:
    """Write into an adapter's folder which base it was trained on; `check_adapter` asks for it."""
    text = json.dumps({"base_model": base_model, "base_hash": base_hash}, indent=2, sort_keys=True)
    (folder / STAMP).write_text(text + "\n")


def check_adapter(
    folder: Path, *, base_hash: str, max_rank: int, base_folder: Path | None = None
) -> int:
    """Check that the engine can serve an adapter; reads all its weights once.

    Args:
        folder: A PEFT folder with our stamp.
        base_hash: `artifacts.model_hash` of the base that serves.
        max_rank: The highest rank that the engine has room for.
        base_folder: The base's own files, if at hand, to compare the layers' shapes with.

    Returns:
        Its rank.

    Raises:
        AdapterRefused: It cannot be served; the message says why.
    """
    origin = _read_json(folder, STAMP).get("base_hash")
    if origin != base_hash:
        raise AdapterRefused(
            f"the adapter was trained on another base model ({str(origin)[:12]}) "
            f"than the one that serves ({base_hash[:12]})"
        )
    rank = _check_config(_read_json(folder, CONFIG), max_rank)
    tensors, data = _read_weights(folder / WEIGHTS)
    _check_pairs(tensors, rank, base_shapes(base_folder) if base_folder else {})
    for name, tensor in tensors.items():
        kind = _TYPES[tensor.dtype]
        values = data[tensor.begin : tensor.end].view(kind.view)
        if ((values & kind.exponent) == kind.exponent).any():
            raise AdapterRefused(f"{name} holds infinities or NaN")
    return rank


def base_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each unquantized weight of a base model, by name."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in folder.glob("*.safetensors"):
        tensors, _ = _read_header(path)
        shapes |= {name: tensor.shape for name, tensor in tensors.items() if tensor.dtype in _TYPES}
    return shapes


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    try:
        value = json.loads((folder / name).read_bytes())
    except FileNotFoundError as exc:
        raise AdapterRefused(f"{name} is missing") from exc
    except (OSError, ValueError, RecursionError) as exc:
        raise AdapterRefused(f"{name} cannot be read: {exc}") from exc
    if not isinstance(value, dict):
        raise AdapterRefused(f"{name} holds no JSON object")
    return value


def _check_config(config: dict[str, Any], max_rank: int) -> int:
    if config.get("peft_type") != "LORA":
        raise AdapterRefused(f"peft_type is {config.get('peft_type')!r}: only LORA can be served")
    for key, feature in _UNSUPPORTED.items():
        if config.get(key):
            raise AdapterRefused(f"{key} is set: the engine does not serve {feature}")
    if config.get("bias", "none") != "none":
        raise AdapterRefused(f"bias is {config['bias']!r}: the engine serves no trained biases")
    start = str(config.get("init_lora_weights", True)).lower()
    if start.startswith(_CHANGES_BASE):
        raise AdapterRefused(f"init_lora_weights is {start!r}, which changes the base's weights")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if type(rank) is not int or rank < 1:
        raise AdapterRefused(f"the rank r is {rank!r}: it must be a positive integer")
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not 0 < alpha < math.inf:
        raise AdapterRefused(f"lora_alpha is {alpha!r}: it must be a positive number")
    if rank > max_rank:
        raise AdapterRefused(
            f"the rank {rank} is over the server's {max_rank}: "
            "raise adapters.max_rank and restart, or train with a lower rank"
        )
    return rank


def _read_header(path: Path) -> tuple[dict[str, _Tensor], int]:
    """Return the tensors of a safetensors file, and where its data begins."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            begin = 8 + length
            if size < 8 or length > _MAX_HEADER_BYTES or begin > size:
                raise AdapterRefused(f"{path.name} is truncated or no safetensors file")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        tensors = {
            name: _Tensor(
                str(entry["dtype"]),
                tuple(map(index, entry["shape"])),
                *map(index, entry["data_offsets"]),
            )
            for name, entry in header.items()
        }
        end = max((tensor.end for tensor in tensors.values()), default=0)
    except FileNotFoundError as exc:
        raise AdapterRefused(f"{path.name} is missing") from exc
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as exc:
        raise AdapterRefused(f"{path.name} has a corrupt header: {exc}") from exc
    if begin + end != size:
        raise AdapterRefused(
            f"{path.name} is truncated or padded: {size} bytes where {begin + end} belong"
        )
    return tensors, begin


def _read_weights(path: Path) -> "tuple[dict[str, _Tensor], np.ndarray[Any, Any]]":
    import numpy as np

    tensors, begin = _read_header(path)
    if not tensors:
        raise AdapterRefused(f"{path.name} holds no tensors")
    reached = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].begin):
        kind = _TYPES.get(tensor.dtype)
        if kind is None:
            raise AdapterRefused(f"{name} is of type {tensor.dtype}: use {', '.join(_TYPES)}")
        if len(tensor.shape) != 2 or not all(size > 0 for size in tensor.shape):
            raise AdapterRefused(f"{name} has the shape {list(tensor.shape)}: it must be a matrix")
        if tensor.begin != reached or tensor.end - reached != math.prod(tensor.shape) * kind.bytes:
            raise AdapterRefused(f"{path.name} has a corrupt header: {name} lies elsewhere")
        reached = tensor.end
    return tensors, np.fromfile(path, np.uint8, offset=begin)


def _check_pairs(tensors: dict[str, _Tensor], rank: int, base: dict[str, tuple[int, ...]]) -> None:
    modules: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, tensor in tensors.items():
        match = _TENSOR.fullmatch(name)
        if match is None:
            raise AdapterRefused(f"{name} is no LoRA weight")
        side = name.removesuffix(".weight")[-1]
        modules.setdefault(match[1], {})[side] = tensor.shape
    for module, pair in modules.items():
        if pair.keys() != {"A", "B"}:
            raise AdapterRefused(f"{module} has only {next(iter(pair))}: A and B come in pairs")
        (rank_a, inputs), (outputs, rank_b) = pair["A"], pair["B"]
        if (rank_a, rank_b) != (rank, rank):
            raise AdapterRefused(
                f"{module} has rank {rank_a} in A and {rank_b} in B, but {CONFIG} says {rank}"
            )
        expected = base.get(module.removeprefix("base_model.model.") + ".weight")
        if expected is not None and expected not in ((outputs, inputs), (inputs, outputs)):
            raise AdapterRefused(
                f"{module} maps {inputs} to {outputs}, but the base's layer is {list(expected)}"
            )
