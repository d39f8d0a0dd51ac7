"""What is refused in the fields of plans and tasks, and where the error points."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError

from planstore.models import PlanCreate, PlanUpdate, TaskCreate, TaskUpdate
from planstore.models.fields import Limits

if TYPE_CHECKING:
    from pydantic import BaseModel

PLAN: Final = uuid4()
AGENT: Final = UUID("550e8400-e29b-41d4-a716-446655440000")


def faults(model: type[BaseModel], **fields: Any) -> set[tuple[str | int, ...]]:
    """Return where the fields are at fault."""
    if model is TaskCreate:
        fields = {"plan_id": PLAN, "description": "do it", **fields}
    with pytest.raises(ValidationError) as error:
        model.model_validate(fields)
    return {fault["loc"][:1] for fault in error.value.errors()}


def nested(depth: int) -> dict[str, Any]:
    """Return an object with ``depth`` levels of nesting, itself included."""
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"in": value}
    return value


@pytest.mark.parametrize("field", ["description", "name", "task_type"])
@pytest.mark.parametrize("text", ["", "  \n", "a\x00b", "a\ud800b", 7])
def test_texts_that_are_empty_or_can_not_be_kept_are_refused(field: str, text: object) -> None:
    assert faults(TaskCreate, **{field: text}) == {(field,)}
    assert faults(TaskUpdate, **{field: text}) == {(field,)}


def test_a_text_is_kept_as_it_is() -> None:
    text = " ☃ \U0001f600\t'\"\\ "

    assert TaskCreate(plan_id=PLAN, description=text).description == text


@pytest.mark.parametrize("name", ["0" * 32, str(AGENT), f"{{{AGENT}}}", AGENT.urn])
def test_a_name_never_reads_as_a_uuid(name: str) -> None:
    assert faults(TaskCreate, name=name) == {("name",)}
    assert faults(TaskUpdate, name=name) == {("name",)}


def test_a_name_has_at_most_200_characters() -> None:
    assert TaskUpdate(name="☃" * 200).name == "☃" * 200
    assert faults(TaskUpdate, name="x" * 201) == {("name",)}


@pytest.mark.parametrize("field", ["input_data", "output_data", "metadata"])
@pytest.mark.parametrize(
    "value",
    [
        {"a": "x\x00"},
        {"a\x00": 1},
        {"a": ["\ud800"]},
        {"\ud800": 1},
        {"a": [float("nan")]},
        {"a": {"b": float("-inf")}},
        nested(65),
        {"a": object()},
        [],
        "{}",
        7,
    ],
    ids=[
        *("nul", "nul in a key", "surrogate", "surrogate in a key", "nan", "infinity"),
        *("deep", "no json", "list", "text", "number"),
    ],
)
def test_free_json_that_can_not_be_kept_is_refused(field: str, value: object) -> None:
    assert faults(TaskUpdate, **{field: value}) == {(field,)}


def test_a_whole_number_that_can_not_be_read_again_is_refused() -> None:
    assert faults(TaskUpdate, output_data={"a": [10**4_400]}) == {("output_data",)}


KEPT: Final[list[dict[str, Any]]] = [
    {},
    nested(64),
    {"a": [{"b": [1]}] * 200},
    {"": [None, True, -1, 1.5e300, 10**30, "NaN", "\\u0000", "Infinity", "☃"]},
]


@pytest.mark.parametrize("value", KEPT, ids=["empty", "deep", "wide", "mixed"])
def test_free_json_is_kept_as_it_is(value: dict[str, Any]) -> None:
    assert TaskUpdate(output_data=value).output_data == value


def test_a_fault_in_free_json_is_named_with_its_place() -> None:
    value = {"a": [0, {"b/c~": "x\x00", "n": float("nan")}]}

    with pytest.raises(ValidationError) as error:
        TaskUpdate(metadata=value)

    (fault,) = error.value.errors()
    assert fault["msg"] == (
        "it can't be kept: a text can't hold the character U+0000 at /a/1/b~1c~0; "
        "a number must be finite at /a/1/n"
    )


@pytest.mark.parametrize("error", ["it spilled", {"code": 7, "trace": ["a"]}, None])
def test_an_error_is_a_text_or_an_object(error: object) -> None:
    assert TaskUpdate.model_validate({"error": error}).error == error


@pytest.mark.parametrize("error", [7, [], ["it spilled"], "a\x00", {"a": "\x00"}])
def test_an_error_of_another_kind_is_refused(error: object) -> None:
    assert faults(TaskUpdate, error=error) == {("error",)}


@pytest.mark.parametrize("steps", [{}, "boil", ["boil"], [[]], [None], [{"a": "\x00"}]])
def test_steps_are_a_list_of_objects(steps: object) -> None:
    assert faults(PlanCreate, steps=steps) == {("steps",)}
    assert faults(PlanUpdate, steps=steps) == {("steps",)}


@pytest.mark.parametrize("order", [-1, 1_000_000_001, 1.5, "x", 10**30])
def test_an_order_is_a_whole_number_up_to_a_thousand_million(order: object) -> None:
    assert faults(TaskCreate, sequence_order=order) == {("sequence_order",)}
    assert faults(TaskUpdate, sequence_order=order) == {("sequence_order",)}
    assert faults(PlanUpdate, current_step=order) == {("current_step",)}


@pytest.mark.parametrize("order", [0, 1_000_000_000])
def test_an_order_may_be_at_its_limits(order: int) -> None:
    assert TaskUpdate(sequence_order=order).sequence_order == order


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("2024-02-29T12:30:00", datetime(2024, 2, 29, 12, 30, tzinfo=UTC)),
        ("2024-02-29T12:30:00Z", datetime(2024, 2, 29, 12, 30, tzinfo=UTC)),
        ("2024-02-29T12:30:00+05:30", datetime(2024, 2, 29, 7, tzinfo=UTC)),
        (
            datetime(2024, 1, 1, tzinfo=timezone(-timedelta(hours=2))),
            datetime(2024, 1, 1, 2, tzinfo=UTC),
        ),
    ],
)
def test_a_time_without_a_zone_is_utc_and_any_other_is_shifted(
    given: object, shown: datetime
) -> None:
    started_at = TaskUpdate.model_validate({"started_at": given}).started_at

    assert isinstance(started_at, datetime)
    assert started_at == shown
    assert started_at.utcoffset() == timedelta()


@pytest.mark.parametrize(
    "time", ["0001-12-31T23:59:59", "9999-01-01T00:00:00+14:00", "2024-02-30", "soon"]
)
def test_times_outside_the_years_2_to_9998_are_refused(time: str) -> None:
    assert faults(TaskUpdate, started_at=time) == {("started_at",)}


@pytest.mark.parametrize("time", ["0002-01-01T00:00:00+14:00", "9998-12-31T23:59:59-14:00"])
def test_times_at_the_limits_are_shifted_to_utc(time: str) -> None:
    started_at = TaskUpdate.model_validate({"started_at": time}).started_at

    assert isinstance(started_at, datetime)
    assert started_at.utcoffset() == timedelta()


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (PlanUpdate, ["plan_type", "steps", "status", "current_step", "metadata", "auto_complete"]),
        (TaskUpdate, ["description", "metadata", "status", "sequence_order"]),
        (PlanCreate, ["plan_type", "steps", "status", "current_step", "metadata"]),
        (TaskCreate, ["plan_id", "description", "metadata"]),
    ],
)
def test_null_is_refused_where_a_field_may_not_be_empty(
    model: type[BaseModel], fields: list[str]
) -> None:
    assert faults(model, **dict.fromkeys(fields)) == {(field,) for field in fields}


@pytest.mark.parametrize("model", [PlanCreate, PlanUpdate, TaskCreate, TaskUpdate])
def test_unknown_fields_are_refused(model: type[BaseModel]) -> None:
    assert faults(model, stauts="active") == {("stauts",)}


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "Active", "open"])
def test_a_plan_is_created_as_draft_or_active(status: str) -> None:
    assert faults(PlanCreate, status=status) == {("status",)}


def test_all_faults_are_named_at_once() -> None:
    assert faults(TaskCreate, description="", name="0" * 32, sequence_order=-1) == {
        ("description",),
        ("name",),
        ("sequence_order",),
    }


def test_limits_come_with_the_validation() -> None:
    small = Limits(steps=1, description=3, json_depth=1)

    inputs: list[tuple[type[BaseModel], dict[str, Any]]] = [
        (PlanCreate, {"steps": [{}, {}]}),
        (TaskUpdate, {"description": "boil"}),
        (TaskUpdate, {"metadata": {"a": {}}}),
    ]
    for model, fields in inputs:
        model.model_validate(fields)
        with pytest.raises(ValidationError):
            model.model_validate(fields, context=small)
