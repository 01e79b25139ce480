"""Where a training runs: a local process, a Ray job, several processes."""
