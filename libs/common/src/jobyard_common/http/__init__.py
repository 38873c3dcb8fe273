"""HTTP, once: problems, request context, server, health, calls between services."""
