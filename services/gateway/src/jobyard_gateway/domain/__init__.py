"""What the front door decides, without touching the world."""
