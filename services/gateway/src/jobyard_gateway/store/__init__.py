"""All SQL of schema `gateway`."""
