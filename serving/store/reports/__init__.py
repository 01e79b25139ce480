"""What people see of the lines: told by training, which the server cannot ask, or counted."""
