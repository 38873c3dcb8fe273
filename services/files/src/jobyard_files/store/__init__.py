"""All SQL of the schema `files`."""
