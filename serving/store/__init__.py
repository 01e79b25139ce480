"""What was said, what people thought of it, and which adapter answers: kept in SQL.

One module a noun; each offers a few functions that take a `Database` and take and return the
frozen records of `serving.store.records`. SQL and its rows stay in this package.
"""
