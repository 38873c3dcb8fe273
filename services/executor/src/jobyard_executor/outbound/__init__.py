"""What we do to the world."""
