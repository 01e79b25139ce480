"""From which networks keys were used."""
