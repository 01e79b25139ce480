"""What a checkpoint's own files say of it, without loading it: sizes for the choices, and faults.

A folder that is incomplete or corrupt makes the engine fail a minute after the start, in another
process, with a traceback. Its `config.json` and the headers of its weights tell as much at once.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.config.settings import Settings
from serving.errors import ConfigError

DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_FLOATS = {"F64", "F32", "F16", "BF16"}
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json", "vocab.txt")
_TEMPLATES = ("chat_template.jinja", "chat_template.json", "tekken.json")  # the last needs none


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint's sizes; None where its files do not tell.

    `kv_values` are the numbers that the KV cache keeps of one token; `floats` the weights stored
    as floats, which take the engine's dtype; `other_bytes` the weights stored otherwise.
    """

    dtype: str | None = None
    context: int | None = None
    kv_values: int | None = None
    floats: int = 0
    other_bytes: int = 0

    def weight_bytes(self, dtype: str) -> int:
        """Memory that the weights take when the engine computes in `dtype`."""
        return self.floats * DTYPE_BYTES.get(dtype, 2) + self.other_bytes

    def kv_bytes(self, dtype: str) -> int | None:
        """Memory that the KV cache takes for one token."""
        return None if self.kv_values is None else self.kv_values * DTYPE_BYTES.get(dtype, 2)


def of(settings: Settings) -> Checkpoint:
    """The sizes of the model that settings name; of one not yet downloaded, what its config tells.

    Raises:
        ConfigError: There is no such model, or its files are incomplete or corrupt.
    """
    folder = locate(settings.model)
    if Path(settings.model).expanduser().is_dir() and _is_plain(settings.engine):
        return read(folder, with_tokenizer="tokenizer" not in settings.engine)
    floats = other = 0
    for path in folder.glob("*.safetensors"):
        more, rest = _count(path)
        floats, other = floats + more, other + rest
    return describe(_json(folder / "config.json"), floats=floats, other_bytes=other)


def locate(model: str) -> Path:
    """The folder with a model's files on this machine; of a hub id at least its `config.json`.

    Raises:
        ConfigError: There is no such model on the hub, or the hub cannot be asked.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        if isinstance(cached := try_to_load_from_cache(model, "config.json"), str):
            return Path(cached).parent  # without asking the hub, which may be out of reach
        return Path(hf_hub_download(model, "config.json")).parent
    except HFValidationError as exc:
        raise ConfigError(
            f"model: there is no folder {model!r}, and it is no hub id. Give the path of a "
            "Hugging Face checkpoint, or an id such as owner/name.",
            param="model",
        ) from exc
    except (LocalEntryNotFoundError, OSError, HfHubHTTPError) as exc:
        answer = getattr(getattr(exc, "response", None), "status_code", None)
        why = (
            "the hub knows no such model, or not for your HF_TOKEN"
            if answer in (401, 403, 404)
            else "it is not in the local cache, and the hub does not answer"
        )
        raise ConfigError(
            f"model: there is no folder {model!r} here, and as a hub id: {why}. Give the path of "
            "a Hugging Face checkpoint, or download it first (`hf download`).",
            param="model",
        ) from exc


def read(folder: Path, *, with_tokenizer: bool = True) -> Checkpoint:
    """Read a whole checkpoint's sizes.

    Raises:
        ConfigError: Its files are incomplete or corrupt; all faults are listed.
    """
    config = _json(folder / "config.json")
    faults = []
    floats = other = 0
    try:
        names = _shards(folder)
    except ConfigError as exc:
        names = []
        faults.append(exc.message)
    for name in names:
        try:
            more, rest = _count(folder / name)
        except ConfigError as exc:
            faults.append(exc.message)
        else:
            floats, other = floats + more, other + rest
    if with_tokenizer and not any((folder / name).is_file() for name in _TOKENIZERS):
        faults.append(f"model: {folder} holds no tokenizer ({', '.join(_TOKENIZERS[:2])}).")
    if faults:
        raise ConfigError("\n  ".join(faults), param="model")
    return describe(config, floats=floats, other_bytes=other)


def describe(config: Mapping[str, Any], *, floats: int = 0, other_bytes: int = 0) -> Checkpoint:
    """Turn a `config.json` into sizes. Multimodal models keep the language model's apart."""
    text = {**config, **(config.get("text_config") or {})}
    if config.get("quantization_config"):  # what is stored is what is loaded
        other_bytes, floats = other_bytes + 2 * floats, 0
    context = text.get("max_position_embeddings")
    return Checkpoint(
        dtype=text.get("dtype") or text.get("torch_dtype"),
        context=context if isinstance(context, int) else None,
        kv_values=_kv_values(text),
        floats=floats,
        other_bytes=other_bytes,
    )


def check_template(folder: Path, engine: Mapping[str, object]) -> None:
    """Refuse a checkpoint without a chat template: every chat and every task would get 400.

    Raises:
        ConfigError: There is none, nor does `engine.chat_template` give one.
    """
    given = engine.get("chat_template")
    if given:
        if "{" not in str(given) and not Path(str(given)).is_file():
            raise ConfigError(
                f"engine.chat_template: no file {str(given)!r}.", param="engine.chat_template"
            )
        return
    if any((folder / name).is_file() for name in _TEMPLATES):
        return
    tokenizer = folder / "tokenizer_config.json"
    if not tokenizer.is_file() or not _json(tokenizer).get("chat_template"):
        raise ConfigError(
            f"model: {folder} has no chat template: it is a base model, not one for instructions, "
            "or a file is missing. Use its instruct variant, or set engine.chat_template to a "
            "Jinja file.",
            param="model",
        )


def _is_plain(engine: Mapping[str, object]) -> bool:
    """Whether vLLM reads the weights from the folder, rather than make or stream them."""
    return engine.get("load_format", "auto") in {"auto", "hf", "safetensors"}


def _kv_values(config: Mapping[str, Any]) -> int | None:
    layers, heads = config.get("num_hidden_layers"), config.get("num_attention_heads")
    hidden = config.get("hidden_size")
    if not (isinstance(layers, int) and isinstance(heads, int) and isinstance(hidden, int)):
        return None
    if config.get("kv_lora_rank"):  # multi-head latent attention keeps one vector a token
        return layers * (int(config["kv_lora_rank"]) + int(config.get("qk_rope_head_dim") or 0))
    kv_heads = config.get("num_key_value_heads") or heads
    return 2 * layers * int(kv_heads) * int(config.get("head_dim") or hidden // heads)


def _shards(folder: Path) -> list[str]:
    """Names of the safetensors files; none where the weights have another format."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        files = _json(index).get("weight_map")
        names = sorted(set(files.values())) if isinstance(files, dict) else []
        missing = [name for name in names if not (folder / name).is_file()]
        if missing or not names:
            lost = ", ".join(missing) or "a weight_map"
            raise ConfigError(f"model: {folder} lacks {lost}, which {index.name} names.")
        return names
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    if not names and not [*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.gguf")]:
        raise ConfigError(f"model: {folder} holds no weights (*.safetensors).")
    return names


def _count(path: Path) -> tuple[int, int]:
    """Floats, and bytes of everything else, by the header; it must fit the file's length."""
    from safetensors import SafetensorError, safe_open

    floats = other = 0
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                part = file.get_slice(name)
                size = math.prod(part.get_shape())
                if part.get_dtype() in _FLOATS:
                    floats += size
                else:
                    other += size  # one byte each, or packed in wider words
    except (SafetensorError, OSError) as exc:
        raise ConfigError(
            f"model: {path} is corrupt or cut short ({exc}). Copy or download it again."
        ) from exc
    return floats, other


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as exc:
        raise ConfigError(
            f"model: {path.parent} holds no {path.name}. Give a Hugging Face checkpoint folder.",
            param="model",
        ) from exc
    except (OSError, ValueError, RecursionError) as exc:
        raise ConfigError(f"model: {path} cannot be read: {exc}", param="model") from exc
    if not isinstance(value, dict):
        raise ConfigError(f"model: {path} holds no JSON object.", param="model")
    return value
