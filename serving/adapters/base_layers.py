"""The layers of a base model, by the names in its checkpoint: what an adapter must fit."""

import json
import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from serving.adapters.weights import TYPES, read_header
from serving.errors import AdapterRefused

PEFT_PREFIX = "base_model.model."

# Libraries put these before a layer's name, or leave them out.
_OUTER = re.compile(r"(?:(?:model|language_model|transformer)\.)*")
_NUMBERED = re.compile(r"(.*?)\.(\d+)\.")
# Weights of a quantized layer, which has no plain `weight` or one of another shape.
_QUANTIZED = (".qweight", ".weight_packed", ".weight")
_SHOWN = 3


@dataclass(frozen=True)
class BaseLayers:
    """The matrices of a base model.

    Attributes:
        shapes: The shape of each layer's weight by the layer's name; None where it is quantized.
        depth: How many blocks the model has, where its configuration says so: what a checkpoint
            holds beyond drafts tokens and is not trained.
    """

    shapes: dict[str, tuple[int, ...] | None]
    depth: int | None = None

    @classmethod
    def read(cls, folder: Path) -> "BaseLayers":
        """Read the headers of a checkpoint's safetensors files; without any, nothing is known."""
        shapes: dict[str, tuple[int, ...] | None] = {}
        for path in sorted(folder.glob("*.safetensors")):
            for name, tensor in read_header(path).items():
                suffix = next((end for end in _QUANTIZED if name.endswith(end)), None)
                if suffix is None:
                    continue
                plain = suffix == ".weight" and tensor.dtype in TYPES
                if plain and len(tensor.shape) != 2:
                    continue
                shapes[name.removesuffix(suffix)] = tensor.shape if plain else None
        return cls(shapes, _depth(folder))

    def find(self, module: str) -> str | None:
        """Return the layer that a module of an adapter belongs to, whatever its prefixes."""
        inner = module.removeprefix(PEFT_PREFIX)
        return inner if inner in self.shapes else self._by_core.get(_core(inner))

    def whole_name(self, inner: str) -> str | None:
        """Return the layer's name if `inner` is that name without its beginning, else None.

        The other way round is sound: some checkpoints leave out what the model's code puts before.
        """
        layer = self.find(inner)
        return layer if layer is not None and layer.endswith(f".{inner}") else None

    def check_name(self, module: str) -> None:
        """Refuse a module of an adapter that the base does not have; raises AdapterRefused."""
        if not self.shapes:
            return
        layer = self.find(module)
        if layer is None:
            raise AdapterRefused(f"{module} is no layer of the base model: it would have no effect")
        if self.whole_name(module.removeprefix(PEFT_PREFIX)):
            raise AdapterRefused(
                f"{module} has no effect under this name: the base's layer is {layer}. "
                "`switchboard adapters import` renames it"
            )

    def check_shape(self, module: str, shape: tuple[int, int]) -> None:
        """Refuse a module that the base has in another shape, which the engine cannot load.

        Args:
            module: Its name in the adapter.
            shape: The shape that the base's weight must have.

        Raises:
            AdapterRefused: It does not fit.
        """
        layer = self.find(module)
        expected = self.shapes[layer] if layer is not None else None
        if expected is not None and expected != shape:
            raise AdapterRefused(
                f"{module} is for a weight of {list(shape)}, but the base's is {list(expected)}"
            )

    def check_all_there(self, config: dict[str, Any], modules: Collection[str]) -> None:
        """Refuse an adapter that lacks layers which its configuration names.

        Args:
            config: Its `adapter_config.json`.
            modules: The modules that it has weights for.

        Raises:
            AdapterRefused: Layers are missing; some are named.
        """
        if not self.shapes:
            return
        there = {layer for module in modules if (layer := self.find(module))}
        # Of a model that also sees, many adapters are for the text alone.
        parts = {None, *map(_part, there)}
        missing = [
            layer for layer in self._targets(config) if layer not in there and _part(layer) in parts
        ]
        if missing:
            named = ", ".join(missing[:_SHOWN]) + (", …" if len(missing) > _SHOWN else "")
            raise AdapterRefused(
                f"target_modules covers {len(missing)} layers of the base that the adapter has no "
                f"weights for: {named}"
            )

    def _targets(self, config: dict[str, Any]) -> list[str]:
        """The layers that PEFT would give an adapter by this configuration."""
        wanted, without = config["target_modules"], config.get("exclude_modules")
        if wanted == "all-linear":
            wanted = r".*(?<!embed_tokens)(?<!lm_head)(?<!wte)(?<!wpe)"
        numbers = config.get("layers_to_transform")
        patterns = config.get("layers_pattern") or ()
        patterns = [patterns] if isinstance(patterns, str) else patterns
        names = "|".join(map(re.escape, patterns)) or r"[^.]+"
        numbered = re.compile(rf"(?:.*\.)?(?:{names})\.(\d+)\.")
        found = []
        for layer in self.shapes:
            # Experts are one parameter in transformers, whatever the checkpoint's names say.
            if ".experts." in layer or not _named(layer, wanted) or _named(layer, without):
                continue
            block = _NUMBERED.match(_core(layer))
            if block and block[1] == "layers" and int(block[2]) >= (self.depth or math.inf):
                continue
            if numbers is not None:
                number = numbered.match(layer)
                asked = [numbers] if isinstance(numbers, int) else numbers
                if number is None or int(number[1]) not in asked:
                    continue
            found.append(layer)
        return found

    @cached_property
    def _by_core(self) -> dict[str, str]:
        return {_core(layer): layer for layer in self.shapes}


def _depth(folder: Path) -> int | None:
    try:
        config = json.loads((folder / "config.json").read_bytes())
        depth = config.get("text_config", config).get("num_hidden_layers")
    except (OSError, ValueError, AttributeError):
        return None
    return depth if isinstance(depth, int) else None


def _part(layer: str) -> str | None:
    """Which stack of blocks a layer is in, such as the text's or the images'; None for neither."""
    block = _NUMBERED.match(_core(layer))
    return block and block[1]


def _core(module: str) -> str:
    return module[_OUTER.match(module).end() :]  # type: ignore[union-attr]  # matches nothing too


def _named(layer: str, wanted: Any) -> bool:
    """Whether PEFT's rule covers a layer: a regex as one text, or names that end it as a list."""
    if isinstance(wanted, str):
        # A regex may begin with a prefix that this checkpoint leaves out.
        return any(
            re.fullmatch(wanted, name) for name in (layer, _core(layer), f"model.{_core(layer)}")
        )
    return any(layer == name or layer.endswith(f".{name}") for name in wanted or ())
