"""PlanStore: the execution plans of AI agents as data, on one ordinary PostgreSQL."""

__version__ = "0.1.0"
