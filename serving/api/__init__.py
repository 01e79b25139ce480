"""Switchboard's own endpoints: adapters, feedback, interactions, configuration."""
