"""Cycles by themselves: schedule, lease, webhook."""
