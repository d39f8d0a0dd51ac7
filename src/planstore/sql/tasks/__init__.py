"""The statements about tasks: one typed function is one statement.

`create` and `change` lock plans first and tasks after them, write the change, what it does to the
plan (`planstore.sql.following`), the events of both and the idempotency key, all at once; and
answer a ``verdict`` beside the task, so that a refusal costs no second round trip.
"""

from planstore.sql.tasks.change import change
from planstore.sql.tasks.creation import NewTask, create, expect_many
from planstore.sql.tasks.reading import AFTER_ALL, BEFORE_ALL, get, of_plan, recent

__all__ = [
    "AFTER_ALL",
    "BEFORE_ALL",
    "NewTask",
    "change",
    "create",
    "expect_many",
    "get",
    "of_plan",
    "recent",
]
