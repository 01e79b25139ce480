"""Segment files and their frames, and the lock that says who owns a folder of them.

A segment is a row of frames: u32 length, u32 CRC-32, payload; little-endian. A crash can tear only
the last frame, whose writer never got to know that it was written. Damage in the middle, which
only a failing disk or a power cut leaves, costs the frames it hits.
"""

import os
import re
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from serving import file_lock

HEADER = struct.Struct("<II")
READ_BYTES = 1 << 20

_SEGMENT = re.compile(r"([0-9]{8})\.log")


class Frame(NamedTuple):
    """One payload, and where in its segment the frame begins."""

    payload: bytes
    offset: int


class Read(NamedTuple):
    """What was read of a segment.

    `end` is where to go on; `done` says that a sealed segment has no more; `lost_bytes` were torn.
    """

    frames: list[Frame]
    end: int
    done: bool
    lost_bytes: int


def header(payload: bytes) -> bytes:
    """Return what stands before `payload` in a segment."""
    return HEADER.pack(len(payload), zlib.crc32(payload))


def segment_path(folder: Path, number: int) -> Path:
    """Return where a segment lies."""
    return folder / f"{number:08}.log"


def segment_numbers(folder: Path) -> list[int]:
    """Return the numbers of the segments in `folder`, oldest first."""
    matches = (_SEGMENT.fullmatch(name) for name in os.listdir(folder))
    return sorted(int(match[1]) for match in matches if match)


def read(path: Path, offset: int, limit: int, *, sealed: bool) -> Read:
    """Read the next frames of a segment.

    Args:
        path: The segment.
        offset: Where to begin.
        limit: How many frames to return at most.
        sealed: Whether its writer is done with it. If not, a frame that is not whole is one that
            is just being written; if so, it never will be.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(offset)
        data = file.read(READ_BYTES)
        need = _need(data)
        if len(data) < need <= size - offset:
            data += file.read(need - len(data))  # a frame larger than what we read at once
        frames, used = _parse(data, offset, limit)
        if frames or offset + used == size:
            return Read(frames, offset + used, sealed and offset + used == size, 0)
        if not sealed:
            return Read([], offset, False, 0)
        data += file.read()
    skipped = _next_frame(data)
    return Read([], offset + skipped, skipped == len(data), skipped)


def count(path: Path) -> int:
    """Return how many frames a segment seems to hold, by their headers alone."""
    frames = position = 0
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        while len(header := os.pread(file.fileno(), HEADER.size, position)) == HEADER.size:
            position += HEADER.size + HEADER.unpack(header)[0]
            frames += position <= size
    return frames


def _need(data: bytes) -> int:
    """Return how many bytes the first frame takes."""
    if len(data) < HEADER.size:
        return HEADER.size
    length: int = HEADER.unpack_from(data)[0]
    return HEADER.size + length


def _parse(data: bytes, offset: int, limit: int) -> tuple[list[Frame], int]:
    frames: list[Frame] = []
    position = 0
    while len(frames) < limit and (payload := _payload(data, position)) is not None:
        frames.append(Frame(payload, offset + position))
        position += HEADER.size + len(payload)
    return frames, position


def _payload(data: bytes, position: int) -> bytes | None:
    begin = position + HEADER.size
    if begin > len(data):
        return None
    length, crc = HEADER.unpack_from(data, position)
    if not 0 < length <= len(data) - begin:
        return None
    payload = data[begin : begin + length]
    return payload if zlib.crc32(payload) == crc else None


def _next_frame(data: bytes) -> int:
    """Return where the next whole frame begins after damage at the front, or the end."""
    for position in range(1, len(data) - HEADER.size):
        if _payload(data, position) is not None:
            return position
    return len(data)


def own(folder: Path) -> int | None:
    """Take a folder for this process, making it if need be.

    The lock is the kernel's, so it ends with the process however that ends.

    Returns:
        The lock's file descriptor, or None where another process has the folder.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = file_lock.take(folder / "lock")
        except FileNotFoundError:  # its owner has just removed it
            continue
        if descriptor is None:
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(folder / "lock")):
                return descriptor
        file_lock.release(descriptor)


def disown(folder: Path, descriptor: int) -> None:
    """Give an owned folder back; it goes too if no segment is left in it."""
    with suppress(OSError):  # something else lies in it, or another process has just taken it
        if not segment_numbers(folder):
            (folder / "lock").unlink()
            folder.rmdir()
    file_lock.release(descriptor)
