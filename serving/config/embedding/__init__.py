"""What makes embeddings of texts and ranks documents, as configured."""
