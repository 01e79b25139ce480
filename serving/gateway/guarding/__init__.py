"""The guards in a request's way: what they read of it, and what becomes of its answer."""
