"""What the engine gets of a request: its body, by the prompt of whichever version is asked."""
