"""The pages for people at /console: desk, review, adapters, operations."""
