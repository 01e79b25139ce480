"""The tensors of a safetensors file: what its header says, and whether its data is all there."""

import json
import math
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from serving.errors import AdapterRefused

if TYPE_CHECKING:
    import numpy as np

_MAX_HEADER_BYTES = 64 << 20


class Type(NamedTuple):
    """How a type of weights is stored."""

    bytes: int
    view: str
    exponent: int
    """The bits that are all set in an infinity or a NaN, and in nothing else."""


TYPES = {
    "F32": Type(4, "<u4", 0x7F80_0000),
    "F16": Type(2, "<u2", 0x7C00),
    "BF16": Type(2, "<u2", 0x7F80),
}


class Tensor(NamedTuple):
    """A tensor's type, shape and place in the data."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(path: Path) -> tuple[dict[str, Tensor], int]:
    """Return the tensors of a safetensors file, and where its data begins.

    Raises:
        AdapterRefused: The file is missing, truncated or corrupt.
    """
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
            name: Tensor(
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


def read_weights(path: Path) -> "tuple[dict[str, Tensor], np.ndarray[Any, Any]]":
    """Return the tensors of an adapter's file, matrices of floats, and the file's data.

    Raises:
        AdapterRefused: The file is missing or corrupt, or holds something else.
    """
    import numpy as np

    tensors, begin = read_header(path)
    if not tensors:
        raise AdapterRefused(f"{path.name} holds no tensors")
    reached = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].begin):
        kind = TYPES.get(tensor.dtype)
        if kind is None:
            raise AdapterRefused(f"{name} is of type {tensor.dtype}: use {', '.join(TYPES)}")
        if len(tensor.shape) != 2 or not all(size > 0 for size in tensor.shape):
            raise AdapterRefused(f"{name} has the shape {list(tensor.shape)}: it must be a matrix")
        if tensor.begin != reached or tensor.end - reached != math.prod(tensor.shape) * kind.bytes:
            raise AdapterRefused(f"{path.name} has a corrupt header: {name} lies elsewhere")
        reached = tensor.end
    return tensors, np.fromfile(path, np.uint8, offset=begin)
