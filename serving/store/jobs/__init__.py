"""Fine-tuning jobs: rows that the API writes and a runner of `training` works on."""
