"""Cycles by themselves: schedule, lease, report."""
