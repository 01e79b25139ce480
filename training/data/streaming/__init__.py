"""Curation in one pass over any number of rows: what is kept in memory, and what on disk."""
