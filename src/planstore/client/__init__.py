"""The client: `PlanStore` over HTTP, asynchronous and synchronous.

Both have the methods of `PlanStore`, by name and signature, and answer and raise the same; how
each is said over HTTP stands in `planstore.client.calls`, and both classes are written from there
by `make client`.
"""

from planstore.client.asynchronous import AsyncPlanStoreClient
from planstore.client.streaming import AsyncEventStream, EventStream
from planstore.client.synchronous import PlanStoreClient

__all__ = ["AsyncEventStream", "AsyncPlanStoreClient", "EventStream", "PlanStoreClient"]
