"""From feedback to a better adapter: curation, fine-tuning, evaluation, gate."""
