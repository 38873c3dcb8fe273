"""Stand-ins for what surrounds the engine, for tests here and in other members."""
