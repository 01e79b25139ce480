"""Questions about what serves: compare versions, measure impact."""
