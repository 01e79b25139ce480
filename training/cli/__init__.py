"""The commands that training adds to `switchboard`, one file each."""
