"""What each tool takes.

The docstrings are what a language model reads, so they are short. Where a field is a part of the
HTTP API with a large schema, a smaller one is shown: what is left out of it is taken all the same.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from planstore.models.fields import WHOLE, ErrorReport, JsonObject, Record, ShortText, Text
from planstore.models.query import Texts, Words
from planstore.models.revision import Operation, Reason, RevisionNumber
from planstore.models.task import FencingToken, TaskDrafts

DEFAULT_LEASE: Final = 900.0
"""Seconds that a model's claim lasts unless it is renewed: it thinks for long."""

_TEXT: Final = {"type": "string"}
_OBJECT: Final = {"type": "object"}
_NAMES: Final = {"type": "array", "items": _TEXT}
_TASK: Final = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "short and unique in the plan"},
        "description": _TEXT,
        "depends_on": {**_NAMES, "description": "names of the tasks that must be done before"},
        "task_type": _TEXT,
        "input_data": {
            "type": "object",
            "description": "{{NAME.x}} is x of the output of NAME, if depends_on has"
            ' {"task": NAME, "type": "data"}',
        },
        "priority": {"type": "integer"},
    },
    "required": ["description"],
}
_OPERATION: Final = {
    "type": "object",
    "properties": {
        "op": {"enum": ["add", "change", "remove", "split", "insert", "rewire", "reorder"]},
        "task": {"description": "add, insert: a new task; else a name or id"},
        "set": {"type": "object", "description": "change: its fields"},
        "into": {"type": "array", "items": _OBJECT, "description": "split: new tasks"},
        "after": _TEXT,
        "before": _TEXT,
        "depends_on": _NAMES,
        "order": {"type": "array", "description": "reorder: names"},
        "restart": {"type": "boolean", "description": "even if it runs"},
    },
    "required": ["op"],
}

RequestId = Annotated[Text, Field(min_length=1, max_length=200)]
Seconds = Annotated[float, Field(ge=0, le=60)]
Lease = Annotated[float, Field(ge=1, le=3_600)]


class Arguments(Record):
    """What a tool takes."""


class Create(Arguments):
    """A plan, with its tasks."""

    goal: Text
    """what it is for"""
    tasks: Annotated[TaskDrafts, WithJsonSchema({"type": "array", "items": _TASK})]
    plan_type: ShortText = "sequential"
    """sequential: tasks without depends_on wait for those before them; dag: they don't"""
    start: bool = True
    """false: keep it a draft"""
    metadata: JsonObject = Field(default_factory=dict[str, Any])
    request_id: RequestId | None = None
    """another one makes the same plan again"""


class Get(Arguments):
    """A plan or a task."""

    id: UUID
    """of a plan or a task"""
    field: ShortText | None = None
    """one field whole, such as output_data"""
    offset: Annotated[int, Field(ge=0), WHOLE] = 0
    """where to go on in it"""


class Replan(Arguments):
    """A revision of a plan."""

    plan: UUID
    expected_revision: RevisionNumber
    """the revision that you saw"""
    operations: Annotated[
        list[Operation],
        Field(min_length=1, max_length=1_000),
        WithJsonSchema({"type": "array", "items": _OPERATION}),
    ]
    reason: Reason
    dry_run: bool = False


class Claim(Arguments):
    """What to hand out."""

    worker: ShortText
    """your own name, always the same"""
    plan: UUID | None = None
    task_types: Texts | None = None
    limit: Annotated[int, Field(ge=1, le=20), WHOLE] = 1
    lease_seconds: Lease = DEFAULT_LEASE
    wait_seconds: Seconds = 0.0
    """wait for work"""
    request_id: RequestId | None = None
    """repeat it to get the same tasks again"""


class Update(Arguments):
    """A change of a task or a plan."""

    id: UUID
    """of a task or a plan"""
    worker: ShortText | None = None
    """with fencing_token: renew the claim"""
    fencing_token: FencingToken | None = None
    progress: Annotated[float, Field(ge=0)] | None = None
    note: Text | None = None
    release: bool = False
    """give the claim up"""
    set: Annotated[JsonObject, Field(min_length=1), WithJsonSchema(_OBJECT)] | None = None
    """fields, such as {"status": "skipped"}, {"priority": 5}; of a plan {"status": "active"}"""
    paused: bool | None = None
    """pause or resume a plan"""

    @model_validator(mode="after")
    def _does_one_thing(self) -> Update:
        ways = (
            self.worker is not None,
            self.release,
            self.set is not None,
            self.paused is not None,
        )
        if sum(ways) != 1:
            raise PydanticCustomError(
                "one_thing", "one of `worker`, `release`, `set` and `paused` is needed"
            )
        if self.worker is not None and self.fencing_token is None:
            raise PydanticCustomError("token", "a claim is renewed with its `fencing_token`")
        return self


class Complete(Arguments):
    """The end of a run, with success."""

    task: UUID
    fencing_token: FencingToken | None = None
    output: JsonObject | None = None
    """what later tasks need"""
    claim_next: ShortText | None = None
    """your worker name: also claims the plan's next task"""


class Fail(Arguments):
    """The end of a run, without success."""

    task: UUID
    error: ErrorReport
    fencing_token: FencingToken | None = None
    retryable: bool = True
    """whether trying again may help"""


class Find(Arguments):
    """What to look for."""

    kind: Literal["tasks", "plans"] = "tasks"
    plan: UUID | None = None
    status: Annotated[list[ShortText], Field(min_length=1)] | None = None
    words: Words | None = None
    name: Texts | None = None
    task_type: Texts | None = None
    worker: Texts | None = None
    ready: Literal[True] | None = None
    limit: Annotated[int, Field(ge=1, le=100), WHOLE] = 20
    cursor: Text | None = None


class Explain(Arguments):
    """What to explain."""

    id: UUID
    """of a task or a plan"""


class Context(Arguments):
    """Who has lost its memory."""

    worker: ShortText
    """your own name"""
    plan: UUID | None = None
