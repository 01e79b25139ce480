"""`switchboard demo`: the whole loop on a small model made here."""
