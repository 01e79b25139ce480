"""What the store knows of why customers came."""
