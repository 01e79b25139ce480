"""Claims: whether what a suggestion or summary says is in the conversation or the knowledge.

Rules without a model, sentence by sentence: numbers, amounts, dates, times, identifiers, names,
promises and negations. `judging` asks a model about what they flag.
"""
