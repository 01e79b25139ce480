"""Candidates that nothing was trained for: a prompt of a version's own, registered and judged."""
