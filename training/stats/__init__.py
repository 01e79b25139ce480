"""Intervals, bootstraps and sequential tests."""
