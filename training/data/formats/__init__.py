"""Other people's formats of conversations, each read into examples like our own."""
