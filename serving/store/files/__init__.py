"""Metadata of files, batches and the results of their lines."""
