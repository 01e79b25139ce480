"""The capture journal: an interaction is safe before its last byte is sent.

The database is too slow to wait for on each response, and may be down. So a replica appends each
interaction to a local file, a few microseconds, and a drainer moves them to the store in batches.
A completed `append` survives `kill -9`, because the bytes are the kernel's by then; it survives a
power cut once the file is synced, at most `fsync_interval_s` later, or before `commit` returns
where that is asked for.

Each interaction reaches the store exactly once: the journal forgets a segment only when all of it
is in the store, and the store ignores what it already has. What a dead process left, whichever of
the living notices first drains.
"""

from serving.capture.drainer import Drainer
from serving.capture.journal import Journal

__all__ = ["Drainer", "Journal"]
