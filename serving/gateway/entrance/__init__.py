"""What a request is before it is known what it asks for."""
