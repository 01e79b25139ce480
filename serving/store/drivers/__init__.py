"""SQLite's drivers: Python's own, and SQLCipher for files under a key."""
