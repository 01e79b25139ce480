"""Answers that are JSON by a schema of ours: what of them can be relied on, told in the answer."""
