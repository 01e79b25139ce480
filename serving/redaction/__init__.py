"""Personal numbers: where they stand in texts, and other values in their places."""
