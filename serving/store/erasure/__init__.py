"""What was erased, by keyed hashes, so that it stays erased; and how far an erasure has come."""
