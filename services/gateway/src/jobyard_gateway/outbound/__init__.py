"""What we do to the world: commands, reads of other services, Valkey."""
