"""Is this folder an adapter that the engine can serve on this base?

The engine finds some of these faults only while it loads, when it may already be too late, and
some never: it ignores `arrow_config`, for one, and tensors for layers that the base does not have,
and answers with wrong weights, or with the base's own.
"""

import json
import logging
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.adapters import prompts
from serving.adapters.base_layers import BaseLayers
from serving.adapters.weights import TYPES, Tensor, read_weights
from serving.errors import AdapterRefused

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
STAMP = "switchboard.json"

_TENSOR = re.compile(r"(.+)\.(?:lora_[AB]\.weight|lora_embedding_[AB])")
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
_HEADS = ("lm_head", "embed_out")
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


def stamp(folder: Path, *, base_model: str, base_hash: str) -> None:
    """Write into an adapter's folder which base it was trained on; `check_adapter` asks for it."""
    text = json.dumps({"base_model": base_model, "base_hash": base_hash}, indent=2, sort_keys=True)
    (folder / STAMP).write_text(text + "\n")


def check_adapter(
    folder: Path,
    *,
    base_hash: str,
    max_rank: int,
    base_folder: Path | None = None,
    only_warn: bool = False,
) -> int:
    """Check that the engine can serve an adapter, and its prompts; reads all its weights once.

    One that brings prompts of its own may change nothing in the base.

    Args:
        folder: A PEFT folder with our stamp.
        base_hash: `artifacts.model_hash` of the base that serves.
        max_rank: The highest rank that the engine has room for.
        base_folder: The base's own files, if at hand, to compare the layers and their shapes with.
        only_warn: Log, rather than refuse, that layers have no effect, are missing or belong to
            the output layer: so an upgrade keeps serving what was registered before.

    Returns:
        Its rank.

    Raises:
        AdapterRefused: It cannot be served; the message says why.
    """
    origin = read_json(folder, STAMP).get("base_hash")
    if origin != base_hash:
        raise AdapterRefused(
            f"the adapter was trained on another base model ({str(origin)[:12]}) "
            f"than the one that serves ({base_hash[:12]})"
        )
    config = read_json(folder, CONFIG)
    rank = _check_config(config, max_rank)
    tensors, data = read_weights(folder / WEIGHTS)
    base = BaseLayers.read(base_folder) if base_folder else None
    modules = _check_modules(config, tensors, rank, base)
    try:
        _check_effect(config, modules, base)
    except AdapterRefused as exc:
        if not only_warn:
            raise
        logger.warning("%s would be refused if it came today: %s", folder, exc)
    own = prompts.of_folder(folder)
    if not _check_values(tensors, data) and not own:
        raise AdapterRefused(
            f"every B in {WEIGHTS} is zero: the adapter would change nothing, it was not trained"
        )
    return rank


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """Return the JSON object in a file of an adapter's folder; raises AdapterRefused."""
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
            raise AdapterRefused(f"{key} is set: adapters with {feature} are not served")
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
    _check_targets(config)
    if rank > max_rank:
        raise AdapterRefused(
            f"the rank {rank} is over the server's {max_rank}: "
            "raise adapters.max_rank and restart, or train with a lower rank"
        )
    return rank


def _check_targets(config: dict[str, Any]) -> None:
    def texts(value: Any) -> bool:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)

    def numbers(value: Any) -> bool:
        return isinstance(value, list) and all(type(item) is int for item in value)

    targets, layers = config.get("target_modules"), config.get("layers_to_transform")
    if not targets or not (isinstance(targets, str) or texts(targets)):
        raise AdapterRefused(
            f"target_modules is {targets!r}: name the layers that the adapter is for"
        )
    for key in ("exclude_modules", "layers_pattern"):
        value = config.get(key)
        if not (value is None or isinstance(value, str) or texts(value)):
            raise AdapterRefused(f"{key} is {value!r}: it must be a text or a list of texts")
    if not (layers is None or type(layers) is int or numbers(layers)):
        raise AdapterRefused(f"layers_to_transform is {layers!r}: it must be a list of numbers")
    for key in ("target_modules", "exclude_modules"):
        if isinstance(config.get(key), str):
            try:
                re.compile(config[key])
            except (re.error, OverflowError, RecursionError) as exc:
                raise AdapterRefused(f"{key} is no regular expression: {exc}") from exc


def _check_modules(
    config: dict[str, Any], tensors: dict[str, Tensor], rank: int, base: BaseLayers | None
) -> list[str]:
    modules: dict[str, dict[str, tuple[int, ...]]] = {}
    embeddings = set()
    for name, tensor in tensors.items():
        match = _TENSOR.fullmatch(name)
        if match is None:
            raise AdapterRefused(f"{name} is no LoRA weight")
        side = name.removesuffix(".weight")[-1]
        modules.setdefault(match[1], {})[side] = tensor.shape
        if "lora_embedding" in name:
            embeddings.add(match[1])
    for module, pair in modules.items():
        if pair.keys() != {"A", "B"}:
            raise AdapterRefused(f"{module} has only {next(iter(pair))}: A and B come in pairs")
        (rank_a, inputs), (outputs, rank_b) = pair["A"], pair["B"]
        if (rank_a, rank_b) != (rank, rank):
            raise AdapterRefused(
                f"{module} has rank {rank_a} in A and {rank_b} in B, but {CONFIG} says {rank}"
            )
        if base is not None:
            # A linear layer is stored (outputs, inputs); an embedding or a Conv1D the other way.
            turned = module in embeddings or bool(config.get("fan_in_fan_out"))
            base.check_shape(module, (inputs, outputs) if turned else (outputs, inputs))
    return list(modules)


def _check_effect(config: dict[str, Any], modules: list[str], base: BaseLayers | None) -> None:
    for module in modules:
        if module.rsplit(".", 1)[-1] in _HEADS:
            raise AdapterRefused(
                f"{module}: the engine applies an adapter of the output layer to the wrong rows "
                "where a request asks for prompt_logprobs. Train without it"
            )
        if base is not None:
            base.check_name(module)
    if base is not None:
        base.check_all_there(config, modules)


def _check_values(tensors: dict[str, Tensor], data: "dict[str, np.ndarray[Any, Any]]") -> bool:
    """Refuse what is no number; return whether the base is changed at all."""
    effect = False
    for name, tensor in tensors.items():
        kind = TYPES[tensor.dtype]
        values = data[name].view(kind.view)
        if ((values & kind.exponent) == kind.exponent).any():
            raise AdapterRefused(f"{name} holds infinities or NaN")
        if name.removesuffix(".weight").endswith("B"):
            # All bits but the sign: a negative zero is none either.
            effect = effect or bool((values & ((1 << (8 * kind.bytes - 1)) - 1)).any())
    return effect
