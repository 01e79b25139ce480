"""The form in which a version is asked: its prompts, and what an example was rendered from."""
