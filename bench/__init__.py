"""Benchmarks: `python -m bench` from the root of the repository, or `make bench`.

Each subject is a module that names its lines and runs them (`bench.subject`); what they share is
a PostgreSQL (`postgres`), server processes (`server`), worker processes (`process`), a load
generator (`load`) and a report (`report`).
"""
