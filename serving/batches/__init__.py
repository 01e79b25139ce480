"""Batches: files of requests that are answered by places which no live request wants."""
