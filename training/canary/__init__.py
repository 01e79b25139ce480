"""Does a canary go on: its outcomes, the decision, the watcher."""
