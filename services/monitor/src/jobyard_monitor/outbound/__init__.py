"""What monitor does to the world: it asks services whether they live."""
