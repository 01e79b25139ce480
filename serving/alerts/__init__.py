"""What people are told of at once, because it may be an attack."""
