"""Erasure of conversations and persons, wherever the server has put what they said."""
