"""The durability protocol as a world of plain objects: clients, gateways, Kafka, PostgreSQL, executors, readers.

Every decision in it is taken by the functions that the product itself calls (`rules.py`); what the product decides in
SQL has a small twin there, and `test_conformance.py` proves on a real PostgreSQL that both agree. `checks.py` holds
the invariants. `mutants.py` takes one rule at a time away: a suite that does not notice is worth nothing.
"""
