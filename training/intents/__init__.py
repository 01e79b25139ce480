"""Intents of a line: proposals for its list, and a classifier trained from corrections."""
