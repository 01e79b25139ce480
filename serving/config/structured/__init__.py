"""What a line asks of a model as JSON: the fields of its summaries."""
