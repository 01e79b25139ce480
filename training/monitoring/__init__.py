"""Production's quality: a drawn sample graded by rules, judge and people; drift told."""
