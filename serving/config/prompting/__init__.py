"""What of a line's settings its prompts are told, for whoever renders: the server or the gate."""
