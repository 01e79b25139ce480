from tests.training.with_prompts import better, configured, store

__all__ = ["better", "configured", "store"]
