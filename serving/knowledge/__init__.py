"""Finding passages and responses of a line's libraries: reading, indexes, searches."""
