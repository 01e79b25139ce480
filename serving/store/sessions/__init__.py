"""Who is signed in to the console."""
