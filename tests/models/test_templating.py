"""What a template's plan comes to with its parameters, and what is wrong with it before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from planstore.errors import InvalidInput
from planstore.models import Instantiation, PlanStatus
from planstore.models.fields import DEFAULT_LIMITS
from planstore.models.templating import check, made

if TYPE_CHECKING:
    from planstore.models.plan import PlanCreate

SCHEMA: Final[dict[str, Any]] = {
    "properties": {
        "name": {"type": "string", "default": "shop"},
        "count": {"type": "integer", "default": 3},
        "when": {"default": None},
        "tasks": {"type": "array", "default": []},
        "nested": {"type": "object", "default": {"list": ["a", {"b": True}]}},
        "free": {},
    }
}


def plan_with(**fields: Any) -> dict[str, Any]:
    return {"plan_type": "dag", "tasks": [{"name": "a", "description": "do it", **fields}]}


def filled(plan: dict[str, Any], **params: Any) -> PlanCreate:
    return made(SCHEMA, plan, Instantiation(params=params), limits=DEFAULT_LIMITS)


def faults_of_template(plan: dict[str, Any], schema: dict[str, Any] = SCHEMA) -> dict[str, str]:
    with pytest.raises(InvalidInput) as info:
        check(schema, plan, limits=DEFAULT_LIMITS)
    return {fault.pointer: fault.detail for fault in info.value.faults}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{params.name}}", "shop"),
        ("{{params.count}}", 3),
        ("{{params.when}}", None),
        ("{{params.nested.list.1.b}}", True),
        ("{{params.nested}}", {"list": ["a", {"b": True}]}),
        (
            "{{params.count}} of {{params.name}}: {{params.nested.list}}",
            '3 of shop: ["a",{"b":true}]',
        ),
        ("{{a.params}} {{ other }}", "{{a.params}} {{ other }}"),
    ],
)
def test_a_text_takes_the_value_with_its_type_and_a_longer_one_its_words(
    text: str, value: Any
) -> None:
    plan = {**plan_with(input_data={"deep": [{"in": text}]}), "steps": [{"do": text}]}
    check(SCHEMA, plan, limits=DEFAULT_LIMITS)

    draft = filled(plan)

    assert draft.tasks[0].input_data == {"deep": [{"in": value}]}
    assert draft.steps == [{"do": value}]


def test_what_is_filled_in_is_not_looked_through_again() -> None:
    plan = plan_with(input_data={"a": "{{params.name}}"})

    draft = filled(plan, name="{{params.count}}")

    assert draft.tasks[0].input_data == {"a": "{{params.count}}"}


def test_any_field_may_be_given_by_a_parameter() -> None:
    plan = {
        "plan_type": "{{params.name}}",
        "max_parallel_tasks": "{{params.count}}",
        "tasks": "{{params.tasks}}",
    }
    check(SCHEMA, plan, limits=DEFAULT_LIMITS)

    draft = filled(plan, tasks=[{"description": "one", "priority": 3}])

    assert (draft.plan_type, draft.max_parallel_tasks) == ("shop", 3)
    assert [task.priority for task in draft.tasks] == [3]


def test_what_the_request_says_of_the_plan_stands_in_the_place_of_the_template() -> None:
    plan = {"labels": ["nightly"], "metadata": {"a": 1}, "status": "draft"}
    request = Instantiation(labels=["now"], status=PlanStatus.ACTIVE)

    draft = made({}, plan, request, limits=DEFAULT_LIMITS)

    assert (draft.labels, draft.metadata, draft.status) == (["now"], {"a": 1}, "active")


def test_unknown_placeholders_are_refused_with_the_nearest_known_one() -> None:
    faults = faults_of_template(
        plan_with(
            description="{{params.nmae}}",
            input_data={"a": ["{{ params.name }}"], "b": "{{params.}}", "c": "{{b.params}}"},
        )
    )

    assert faults.keys() == {
        "/plan/tasks/0/description",
        "/plan/tasks/0/input_data/a/0",
        "/plan/tasks/0/input_data/b",
    }
    assert "did you mean 'name'?" in faults["/plan/tasks/0/description"]
    assert "without blanks" in faults["/plan/tasks/0/input_data/a/0"]


@pytest.mark.parametrize(
    ("plan", "pointer"),
    [
        ({"plan_typ": "dag"}, "/plan/plan_typ"),
        ({"id": "770e8400-e29b-41d4-a716-446655440002"}, "/plan/id"),
        (plan_with(id="770e8400-e29b-41d4-a716-446655440002"), "/plan/tasks/0/id"),
        (plan_with(description=""), "/plan/tasks/0/description"),
        (plan_with(priority="high"), "/plan/tasks/0/priority"),
        (plan_with(priority="{{a.b}}"), "/plan/tasks/0/priority"),
        (plan_with(depends_on=["b"]), "/plan/tasks/0/depends_on/0"),
        (plan_with(depends_on=["b"], priority="{{params.count}}"), "/plan/tasks/0/depends_on/0"),
        (plan_with(depends_on=["a"]), "/plan"),
        ({"expand": True, "steps": [{"action": "a", "depends_on": 2}]}, "/plan/steps/0/depends_on"),
        ({"tasks": [{"name": "a", "description": "x"}] * 2}, "/plan/tasks"),
    ],
)
def test_what_is_wrong_whatever_is_filled_in_is_refused_at_once(
    plan: dict[str, Any], pointer: str
) -> None:
    assert pointer in faults_of_template(plan)


OPEN: Final[list[dict[str, Any]]] = [
    plan_with(priority="{{params.count}}", timeout_seconds="{{params.free}}"),
    plan_with(depends_on=["{{params.free}}"]),
    {"tasks": ["{{params.free}}", {"description": "x", "depends_on": ["it"]}]},
    {
        "tasks": [
            {"name": "{{params.free}}", "description": "x"},
            {"description": "y", "depends_on": ["what is given"]},
        ]
    },
    {"expand": "{{params.free}}", "steps": [{}]},
    {"expand": True, "steps": [{"action": "a", "depends_on": "{{params.free}}"}]},
]


@pytest.mark.parametrize("plan", OPEN)
def test_what_depends_on_the_parameters_is_left_open(plan: dict[str, Any]) -> None:
    check(SCHEMA, plan, limits=DEFAULT_LIMITS)


def test_faults_of_schema_plan_and_dependencies_come_at_once() -> None:
    plan = plan_with(priority="high", depends_on=["b"])

    faults = faults_of_template(plan, {"properties": {"a": {"type": "x"}}})

    assert faults.keys() == {
        "/parameters/properties/a/type",
        "/plan/tasks/0/priority",
        "/plan/tasks/0/depends_on/0",
    }


def test_defaults_that_make_no_plan_are_refused_where_they_stand() -> None:
    schema = {"properties": {"p": {"default": 500}, "needs": {"default": "b"}}}

    faults = faults_of_template(plan_with(priority="{{params.p}}"), schema)
    assert "100" in faults["/parameters/properties/p/default"]
    faults = faults_of_template(plan_with(depends_on=["{{params.needs}}"]), schema)
    assert "no task 'b'" in faults["/parameters/properties/needs/default"]


@pytest.mark.parametrize(
    ("fields", "params", "pointer", "detail"),
    [
        ({"priority": "{{params.count}}"}, {"count": 500}, "/params/count", "/tasks/0/priority"),
        ({"labels": "{{params.free}}"}, {"free": ["a", ""]}, "/params/free/1", "/tasks/0/labels/1"),
        (
            {"task_type": "{{params.nested.type}}"},
            {"nested": {"kind": "a"}},
            "/params/nested/type",
            "it has: kind",
        ),
        ({"task_type": "{{params.free}}"}, {}, "/params/free", "it is required"),
        ({"task_type": "a"}, {"conut": 1}, "/params/conut", "did you mean 'count'?"),
        ({"task_type": "a"}, {"count": "1"}, "/params/count", "its type must be"),
        (
            {"input_data": {str(n): "{{params.free}}" for n in range(10)}},
            {"free": "x" * 1_000_000},
            "/params/free",
            "bytes are filled in",
        ),
    ],
)
def test_what_is_wrong_once_it_is_filled_in_is_said_of_the_parameter(
    fields: dict[str, Any], params: dict[str, Any], pointer: str, detail: str
) -> None:
    with pytest.raises(InvalidInput) as info:
        filled(plan_with(**fields), **params)

    faults = {fault.pointer: fault.detail for fault in info.value.faults}
    assert detail in faults[pointer]
