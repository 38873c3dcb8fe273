"""The front door: HTTP in, commands out."""
