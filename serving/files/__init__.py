"""Files that clients upload and batches write: checked line by line, kept under one URL."""
