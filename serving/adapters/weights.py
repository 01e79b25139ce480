"""The tensors of a safetensors file: what its header says, and the bytes of an adapter's."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from serving.errors import AdapterRefused

if TYPE_CHECKING:
    import numpy as np


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
    """A tensor's type and shape."""

    dtype: str
    shape: tuple[int, ...]


def read_header(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, in the order in which their data lies there.

    The library checks the header and that the data is all there and nothing else.

    Raises:
        AdapterRefused: The file is missing, truncated or corrupt.
    """
    # Not at import: it is loaded by whatever reads adapters, and a command line seldom does.
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.offset_keys()}
            return {
                name: Tensor(part.get_dtype(), tuple(part.get_shape()))
                for name, part in slices.items()
            }
    except FileNotFoundError as exc:
        raise AdapterRefused(f"{path.name} is missing") from exc
    except (OSError, SafetensorError) as exc:
        raise AdapterRefused(f"{path.name} is truncated, padded or corrupt: {exc}") from exc


def data_begins(path: Path) -> int:
    """Return where the data of a safetensors file begins: after its header and that one's length.

    Args:
        path: A file that `read_header` has read.
    """
    with path.open("rb") as file:
        return 8 + int.from_bytes(file.read(8), "little")


def read_weights(path: Path) -> "tuple[dict[str, Tensor], dict[str, np.ndarray[Any, Any]]]":
    """Return the tensors of an adapter's file, matrices of floats, and the bytes of each.

    Raises:
        AdapterRefused: The file is missing or corrupt, or holds something else.
    """
    import numpy as np

    tensors = read_header(path)
    if not tensors:
        raise AdapterRefused(f"{path.name} holds no tensors")
    for name, tensor in tensors.items():
        if tensor.dtype not in TYPES:
            raise AdapterRefused(f"{name} is of type {tensor.dtype}: use {', '.join(TYPES)}")
        if len(tensor.shape) != 2 or not all(size > 0 for size in tensor.shape):
            raise AdapterRefused(f"{name} has the shape {list(tensor.shape)}: it must be a matrix")
    data = np.fromfile(path, np.uint8, offset=data_begins(path))
    sizes = [math.prod(t.shape) * TYPES[t.dtype].bytes for t in tensors.values()]
    return tensors, dict(zip(tensors, np.split(data, np.cumsum(sizes)[:-1]), strict=True))
