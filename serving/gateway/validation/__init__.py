"""What a client may send, and of which type and size, before anything is done with it."""
