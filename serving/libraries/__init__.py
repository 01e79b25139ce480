"""The commands of a line's libraries: `switchboard knowledge` and `switchboard responses`."""
