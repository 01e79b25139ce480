"""What is told of the lines for people to see: by training, which the server cannot ask, and by rows."""
