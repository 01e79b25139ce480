"""`switchboard doctor`: what is wrong with an installation, and a bundle for a bug report."""
