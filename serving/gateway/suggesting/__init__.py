"""Suggestions as they are typed: completed, superseded, told apart, ranked, or withheld."""
