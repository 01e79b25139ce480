"""Builds, loads and calls ``native.cpp``; without AVX2 or a build of it the torch op is used.

A wheel carries it compiled for each instruction set (`variants`). Elsewhere it is compiled when it
is first used: it has a plain C interface and no link to torch, so that takes about two seconds. The
library is kept under ``$XDG_CACHE_HOME/switchboard_kernels``, which is this user's only, by the
hash of its source, compiler and CPU.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import torch

from switchboard_kernels.cpu_grouped_lora import variants
from switchboard_kernels.cpu_grouped_lora.groups import TokenGroups, check_rows
from switchboard_kernels.cpu_grouped_lora.weights import LayerWeights
from switchboard_kernels.errors import BuildError
from switchboard_kernels.settings import Settings

logger = logging.getLogger(__name__)

_COMPILE = (*variants.COMPILE, "-march=native")
_TYPES = (torch.bfloat16, torch.float32)


class _Layer(ctypes.Structure):
    _fields_ = (
        ("a", ctypes.c_void_p),
        ("b", ctypes.c_void_p),
        ("widths", ctypes.c_void_p),
        ("ranks", ctypes.c_void_p),
        ("n_slices", ctypes.c_int64),
        ("slots", ctypes.c_int64),
        ("rank", ctypes.c_int64),
        ("hidden", ctypes.c_int64),
        ("is_bf16", ctypes.c_int64),
    )


class _Groups(ctypes.Structure):
    _fields_ = (
        ("offsets", ctypes.c_void_p),
        ("slots", ctypes.c_void_p),
        ("rows", ctypes.c_void_p),
        ("n_groups", ctypes.c_int64),
    )


class NativeLayer:
    """The weights of one layer as the library wants them; holds what it points to.

    Args:
        weights: The layer's weights, with types and layouts that ``fits`` accepts.
    """

    def __init__(self, weights: LayerWeights) -> None:
        a, b = weights.a, weights.b
        n = len(b)
        self.dtype = b[0].dtype
        self.columns = sum(weights.widths)
        self.inputs = a[0].shape[-1] if a else b[0].shape[-1]
        arrays = [
            (ctypes.c_void_p * n)(*(w.data_ptr() for w in a)) if a else None,
            (ctypes.c_void_p * n)(*(w.data_ptr() for w in b)),
            (ctypes.c_int64 * n)(*weights.widths),
        ]
        self._keep = (weights, arrays)
        pointers = [array and ctypes.cast(array, ctypes.c_void_p) for array in arrays]
        self._struct = _Layer(
            *pointers,
            weights.ranks.data_ptr(),
            n,
            b[0].shape[0],
            b[0].shape[-1],
            self.inputs,
            int(self.dtype == torch.bfloat16),
        )
        self.address = ctypes.addressof(self._struct)

    @staticmethod
    def fits(weights: LayerWeights) -> bool:
        """Whether the library can take these weights: types, layout, even rank and hidden."""
        a, b = weights.a, weights.b
        rank = b[0].shape[-1]
        return (
            b[0].dtype in _TYPES
            and rank % 2 == 0
            and all(w.dtype == b[0].dtype and w.is_contiguous() for w in (*a, *b))
            and all(w.shape[-2] == rank and w.shape[-1] % 2 == 0 for w in a)
            and all(w.shape[-1] == rank for w in b)
        )


class NativeGroups:
    """The groups of one batch as the library wants them; holds what it points to."""

    def __init__(self, groups: TokenGroups) -> None:
        self.tokens = groups.tokens
        self._keep = (groups.offsets, groups.group_slots, groups.rows)
        pointers = [tensor.data_ptr() for tensor in self._keep]
        self._struct = _Groups(*pointers, len(groups.groups))
        self.address = ctypes.addressof(self._struct)


def native_grouped_lora(
    library: ctypes.CDLL,
    y: torch.Tensor,
    x: torch.Tensor,
    layer: NativeLayer,
    groups: NativeGroups,
    *,
    scale: float,
    offset: int,
    add_inputs: bool,
) -> bool:
    """Run the op in C++ if these rows suit it.

    Args:
        library: What ``load`` returned.
        y: (tokens, columns), changed in place.
        x: (tokens, hidden), or (tokens, rank) for a layer without A.
        layer: The layer's weights.
        groups: The batch sorted by adapter.
        scale: Multiplies the low-rank product.
        offset: First column of the first slice.
        add_inputs: Add to ``y``; otherwise the slices replace it.

    Returns:
        False, having done nothing, when the types or strides do not suit the library.

    Raises:
        ShapeError: The batch has more tokens than ``x`` or ``y`` has rows.
    """
    check_rows(groups.tokens, y, x)
    if not (
        x.dtype == y.dtype == layer.dtype
        and x.stride(1) == 1
        and y.stride(1) == 1
        and x.shape[1] == layer.inputs
        and offset + layer.columns <= y.shape[1]
    ):
        return False
    library.sk_grouped_lora(
        layer.address,
        groups.address,
        x.data_ptr(),
        x.stride(0),
        y.data_ptr(),
        y.stride(0),
        offset,
        scale,
        add_inputs,
    )
    return True


@functools.cache
def load() -> ctypes.CDLL | None:
    """Build the library if needed and load it, once per process.

    Returns:
        The library, or None: switched off, no AVX2, or neither a build nor a compiler.

    Raises:
        BuildError: ``SWITCHBOARD_KERNELS_NATIVE=on`` and it cannot be built or run here.
    """
    wanted = Settings.from_environment().native
    if wanted == "off":
        return None
    try:
        library = _open(_build())
    except (BuildError, OSError) as error:
        if wanted == "on":
            raise BuildError(f"SWITCHBOARD_KERNELS_NATIVE=on: {error}") from error
        logger.warning(
            "Adapters run in torch, as correct and slower: %s. "
            "SWITCHBOARD_KERNELS_NATIVE=off says that this is meant.",
            error,
        )
        return None
    return library


def _build() -> Path:
    variant = variants.best(_cpu_flags().split()) if platform.machine() == "x86_64" else None
    if variant is None:
        raise BuildError("this CPU has neither AVX-512 nor AVX2 with FMA")
    if variant.prebuilt.is_file():
        return variant.prebuilt
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        raise BuildError("no C++ compiler: install g++ or set CXX")
    version = subprocess.run([compiler, "--version"], capture_output=True, check=False).stdout
    sources = [file.read_bytes() for file in (variants.SOURCE, *variants.HEADERS)]
    recipe = [*sources, version, " ".join(_COMPILE).encode(), _cpu_flags().encode()]
    name = hashlib.sha256(b"\0".join(recipe)).hexdigest()[:20]
    target = _cache_folder() / f"grouped_lora_{name}.so"
    if _ours(target):
        return target
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        made = Path(scratch) / "made.o"
        _run([compiler, *_COMPILE, str(variants.SOURCE), "-o", str(made)])
        _run([compiler, "-shared", str(made), "-o", str(made.with_suffix(".so"))])
        # Atomic: several workers may build at once, and the last one wins with equal bytes.
        made.with_suffix(".so").replace(target)
    return target


def _cache_folder() -> Path:
    """Return a folder that only this user can write to: what lies there is run as code."""
    try:  # a user without an entry and without HOME has no home
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = root / "switchboard_kernels"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not _ours(folder):
            raise PermissionError(f"{folder} is a link, another user's or open to others' writing")
        folder.chmod(0o700)
        if os.access(folder, os.W_OK):
            return folder
        raise PermissionError(f"{folder} cannot be written")
    except (OSError, RuntimeError) as error:
        logger.warning("The C++ op is built anew for this process: %s", error)
    folder = Path(tempfile.mkdtemp(prefix="switchboard_kernels_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _ours(path: Path) -> bool:
    """Whether a file or folder is there, no link, this user's, and nobody else can write to it."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    plain = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
    return plain and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise BuildError(f"{command[0]} failed: {done.stderr[-500:]}")


def _open(path: Path) -> ctypes.CDLL:
    _share_openmp()
    library = ctypes.CDLL(str(path))
    if not library.sk_supported():
        raise BuildError("this CPU lacks an instruction set the library was built for")
    library.sk_ranks.restype = None
    library.sk_ranks.argtypes = (ctypes.c_void_p, *(ctypes.c_int64,) * 4, ctypes.c_void_p)
    library.sk_grouped_lora.restype = None
    library.sk_grouped_lora.argtypes = (
        *(ctypes.c_void_p,) * 3,
        ctypes.c_int64,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_float,
        ctypes.c_int64,
    )
    return library


def _share_openmp() -> None:
    """Make the OpenMP runtime that torch uses visible to the library we load next.

    A second runtime would bring a second pool of threads, both spinning on the same cores.
    """
    if hasattr(ctypes.CDLL(None), "GOMP_parallel"):
        return
    for line in Path("/proc/self/maps").read_text().splitlines():
        name = line.rsplit(" ", 1)[-1]
        if any(part in Path(name).name for part in ("libgomp", "libiomp5", "libomp")):
            ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
            return
    raise BuildError("torch's OpenMP runtime was not found in this process")


@functools.cache
def _cpu_flags() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            return line
    return ""
