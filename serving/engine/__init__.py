"""vLLM, and nothing else imports it."""
