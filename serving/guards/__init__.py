"""Guards: what a text is checked for on its way in, on its way out and into the store.

Each is a pure `check(text, context)` that returns what it found, with the kind, a score and the
span; the line's configuration says what follows (`serving.guards.verdict.Action`).
"""
