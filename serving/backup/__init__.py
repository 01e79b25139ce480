"""A deployment in a folder, and back: the store, adapters, files and what waits in journals.

`manifest` says what a backup holds and verifies it; `store` and `postgres` copy the database;
`take` and `restore` put them together. Keys are never part of it.
"""

from serving.backup.manifest import Manifest, read
from serving.backup.restore import restore
from serving.backup.take import take

__all__ = ["Manifest", "read", "restore", "take"]
