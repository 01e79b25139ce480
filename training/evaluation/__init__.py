"""Is the candidate better: generation, scores, judge, checks, the gate."""
