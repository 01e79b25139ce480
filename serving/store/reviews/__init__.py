"""The review queue: answers that wait for a person, and what became of them."""
