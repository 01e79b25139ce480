"""What one asks of learning lines: where their flywheel stands, how good their answers are."""
