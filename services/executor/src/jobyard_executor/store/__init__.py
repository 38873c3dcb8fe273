"""All SQL of the schema `executor`, one file a subject."""
