"""The schema `executor`, by numbered steps."""
