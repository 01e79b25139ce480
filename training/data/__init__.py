"""Datasets: from stored feedback to examples, preferences, splits, files."""
