"""Payloads that the store refuses, each as a journal of one frame with the reason beside it."""

import os
from pathlib import Path

from serving.capture import segments
from serving.capture.journal import REJECTED
from serving.capture.segments import Frame

REASON = "reason.txt"


def set_aside(path: Path, frame: Frame, reason: Exception) -> None:
    """Keep a payload out of the way of others.

    Args:
        path: The segment that it was read of, in a folder of the folder of all journals.
        frame: The payload, as it lies there.
        reason: Why the store refuses it.
    """
    name = f"{path.parent.name}-{path.stem}-{frame.offset}"
    folder = path.parent.parent / REJECTED / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / REASON).write_text(f"{type(reason).__name__}: {reason}\n", "utf-8", "replace")
    with segments.segment_path(folder, 1).open("wb") as file:
        file.write(segments.header(frame.payload) + frame.payload)
        file.flush()
        os.fsync(file.fileno())
