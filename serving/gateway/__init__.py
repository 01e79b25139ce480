"""The OpenAI-compatible endpoint: from a request's bytes to its answer's."""
