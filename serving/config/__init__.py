"""The configuration: one YAML file, parsed once, and what follows from it."""
