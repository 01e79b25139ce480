"""Promotions: one version for all replicas at once."""
