"""What is measured of one output: edits, facts, overlap."""
