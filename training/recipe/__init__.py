"""A line's training recipe: one YAML file, parsed once, a module a section."""
