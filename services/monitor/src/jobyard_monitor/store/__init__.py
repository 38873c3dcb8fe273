"""All SQL of schema `monitor`: one named query each. Functions that serve a reader take the tenant first."""
