"""Jobyard for Python: the client, the command line and the kit for tool authors."""
