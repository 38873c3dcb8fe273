"""Numbered steps; `jobyard_common.db.migrate` runs them."""
