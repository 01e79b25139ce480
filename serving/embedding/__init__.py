"""Embeddings of texts and ranks of documents, by a model beside the engine or an upstream."""
