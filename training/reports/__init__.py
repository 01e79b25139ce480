"""What people read of a run: pages, plots, cost."""
