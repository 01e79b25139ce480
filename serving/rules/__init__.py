"""Deterministic answers: rules of a line that answer or route a request without asking a model."""
