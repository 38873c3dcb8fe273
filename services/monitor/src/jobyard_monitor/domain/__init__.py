"""What monitor knows, as pure functions: no clock, no database, no network."""
