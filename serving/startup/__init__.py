"""From a configuration to a running server: what fits, what is wrong, and why it failed."""
