"""Endpoints in other APIs' form that no engine answers: embeddings, ranks, responses by id."""
