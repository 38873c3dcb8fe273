"""The job engine: queue, leases, attempts, results."""
