"""Small classifiers of intents, trained from corrections: what they read, and which is live."""
