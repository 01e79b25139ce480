"""What a line keeps to answer from: passages of knowledge, and responses that people wrote."""
