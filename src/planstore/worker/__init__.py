"""Workers: handlers of tasks, and what keeps their claims, runs them and reports for them.

Worker          a process that carries out tasks of any plan until it is told to stop
Orchestrator    carries out one plan to its end
Context         what a handler is given beside the work packet
Permanent       raised by a handler: trying again won't help
Retry           raised by a handler: try again, after so long
Stopped         raised by `Context.raise_if_stopped`: the run is no longer wanted
"""

from planstore.worker.context import Context, StopReason
from planstore.worker.orchestrator import Execution, ExecutionStats, Orchestrator
from planstore.worker.signals import Permanent, Retry, Stopped
from planstore.worker.store import on_database, over_http
from planstore.worker.worker import Worker

__all__ = [
    "Context",
    "Execution",
    "ExecutionStats",
    "Orchestrator",
    "Permanent",
    "Retry",
    "StopReason",
    "Stopped",
    "Worker",
    "on_database",
    "over_http",
]
