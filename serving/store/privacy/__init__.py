"""Beside an interaction: what is known of its redaction, and its originals under a key."""
