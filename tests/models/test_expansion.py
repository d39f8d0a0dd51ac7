"""How the steps of a plan become tasks, and what is refused in them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planstore.errors import InvalidInput
from planstore.models.dependency import Condition, DependencyType
from planstore.models.expansion import expanded
from planstore.models.fields import MAX_FAULTS, Limits
from planstore.models.graph import find_cycle
from planstore.models.plan import SEQUENTIAL
from planstore.models.task import MAX_BATCH, SideEffects

if TYPE_CHECKING:
    from planstore.errors import Fault
    from planstore.models.task import TaskDraft

AGENT: Final = UUID("550e8400-e29b-41d4-a716-446655440000")
PARALLEL: Final = "parallel"


def expand(*steps: dict[str, Any], plan_type: str = PARALLEL) -> list[TaskDraft]:
    return expanded(steps, plan_type=plan_type)


def only(step: dict[str, Any]) -> TaskDraft:
    """Return the one task that a step makes."""
    (task,) = expand(step)
    return task


def faults(*steps: dict[str, Any], plan_type: str = PARALLEL) -> dict[str, str]:
    """Return what is wrong with the steps, by place."""
    with pytest.raises(InvalidInput) as error:
        expand(*steps, plan_type=plan_type)
    return {fault.pointer: fault.detail for fault in error.value.faults}


def names(tasks: list[TaskDraft]) -> list[str | None]:
    return [task.name for task in tasks]


def orders(tasks: list[TaskDraft]) -> list[int | None]:
    return [task.sequence_order for task in tasks]


def needs(tasks: list[TaskDraft]) -> list[list[str]]:
    return [[needed.task for needed in task.depends_on] for task in tasks]


def test_the_documented_steps_of_a_sequential_plan_become_tasks_in_their_order() -> None:
    tasks = expand(
        {
            "step": 1,
            "action": "analyze",
            "description": "Analyze requirements",
            "estimated_duration": "5m",
        },
        {
            "step": 2,
            "action": "implement",
            "description": "Write implementation",
            "estimated_duration": "30m",
        },
        {"step": 3, "action": "test", "description": "Run tests", "estimated_duration": "10m"},
        plan_type=SEQUENTIAL,
    )

    assert [task.model_dump(exclude_defaults=True) for task in tasks] == [
        {
            "name": "analyze",
            "description": "Analyze requirements",
            "task_type": "analyze",
            "sequence_order": 1,
            "estimated_duration": "5m",
        },
        {
            "name": "implement",
            "description": "Write implementation",
            "task_type": "implement",
            "sequence_order": 2,
            "estimated_duration": "30m",
        },
        {
            "name": "test",
            "description": "Run tests",
            "task_type": "test",
            "sequence_order": 3,
            "estimated_duration": "10m",
        },
    ]


def test_the_documented_steps_of_a_parallel_plan_become_a_group_and_what_needs_it() -> None:
    tasks = expand(
        {
            "step": 1,
            "parallel_group": "A",
            "actions": [
                {"action": "lint", "agent": "linter"},
                {"action": "typecheck", "agent": "typechecker"},
            ],
        },
        {"step": 2, "depends_on": 1, "action": "build"},
    )

    assert names(tasks) == ["lint", "typecheck", "build"]
    assert orders(tasks) == [1, 1, 2]
    assert [task.parallel_group for task in tasks] == ["A", "A", None]
    assert [task.metadata for task in tasks] == [{"agent": "linter"}, {"agent": "typechecker"}, {}]
    assert needs(tasks) == [[], [], ["lint", "typecheck"]]


def test_a_step_says_all_that_a_task_may_be_told() -> None:
    task = only(
        {
            "name": "build",
            "action": "compile",
            "task_type": "shell",
            "agent_id": str(AGENT),
            "input": {"target": "wheel"},
            "estimated_duration": 90,
            "priority": 5,
            "timeout_seconds": 60,
            "side_effects": "once",
            "retry_policy": {"max_retries": 1},
            "not_before": "2030-01-01T00:00:00Z",
            "metadata": {"ticket": 7},
        }
    )

    assert task.name == "build"
    assert task.description == "compile"
    assert task.task_type == "shell"
    assert task.agent_id == AGENT
    assert task.input_data == {"target": "wheel"}
    assert task.estimated_duration == "90s"
    assert task.priority == 5
    assert task.timeout_seconds == 60
    assert task.side_effects is SideEffects.ONCE
    assert task.retry_policy is not None
    assert task.retry_policy.max_retries == 1
    assert task.not_before is not None
    assert task.not_before.year == 2030
    assert task.metadata == {"ticket": 7}


@pytest.mark.parametrize(
    ("step", "description"),
    [
        ({"description": "d", "title": "t", "action": "a", "name": "n"}, "d"),
        ({"title": "t", "action": "a", "name": "n"}, "t"),
        ({"action": "a", "name": "n"}, "a"),
        ({"name": "n"}, "n"),
        ({"description": None, "title": None, "action": "a"}, "a"),
    ],
)
def test_a_task_is_described_by_the_best_text_there_is(
    step: dict[str, Any], description: str
) -> None:
    assert only(step).description == description


def test_a_step_needs_something_to_be_done() -> None:
    assert faults({"step": 1}, {"actions": [{"input": {}}]}) == {
        "/steps/0": "a step needs an action or a description",
        "/steps/1/actions/0": "a step needs an action or a description",
    }


@pytest.mark.parametrize("key", ["input", "input_data", "inputs"])
def test_input_is_an_object_under_any_of_its_names(key: str) -> None:
    assert only({"action": "a", key: {"x": 1}}).input_data == {"x": 1}
    assert faults({"action": "a", key: "x"}) == {
        f"/steps/0/{key}": "it must be an object; it is 'x'"
    }


def test_an_agent_that_reads_as_a_uuid_is_the_agent_s_id() -> None:
    task = only({"action": "a", "agent": str(AGENT)})

    assert task.agent_id == AGENT
    assert task.metadata == {}


def test_an_agent_beside_an_agent_id_is_kept() -> None:
    task = only({"action": "a", "agent": "linter", "agent_id": str(AGENT)})

    assert task.agent_id == AGENT
    assert task.metadata == {"agent": "linter"}


def test_a_type_or_an_agent_that_is_no_text_is_kept_as_the_client_s_own() -> None:
    task = only({"action": "a", "type": ["x"], "agent": {"pool": "gpu"}})

    assert task.task_type == "a"
    assert task.metadata == {"step": {"type": ["x"], "agent": {"pool": "gpu"}}}


def test_what_makes_no_field_is_kept_in_the_metadata() -> None:
    task = only(
        {
            "id": 7,
            "name": "n",
            "title": "t",
            "action": "a",
            "description": "d",
            "task_type": "shell",
            "tool": {"cmd": "ls"},
            "metadata": {"mine": 1},
        }
    )

    assert task.metadata == {
        "mine": 1,
        "step": {"id": 7, "title": "t", "action": "a", "tool": {"cmd": "ls"}},
    }


def test_metadata_of_the_client_s_own_stand() -> None:
    task = only({"action": "a", "agent": "x", "tool": 1, "metadata": {"agent": 0, "step": 0}})

    assert task.metadata == {"agent": 0, "step": 0}


def test_actions_take_from_their_step_what_they_do_not_say() -> None:
    step: dict[str, Any] = {
        "name": "checks",
        "description": "Check it",
        "agent_id": str(AGENT),
        "task_type": "check",
        "input": {"path": "src"},
        "estimated_duration": "5m",
        "priority": 3,
        "metadata": {"a": 1, "b": 1},
        "tool": "x",
    }
    action: dict[str, Any] = {
        "action": "lint",
        "agent": "linter",
        "type": "shell",
        "input": {},
        "estimated_duration": "1m",
        "priority": 0,
        "metadata": {"b": 2},
        "tool": "y",
    }

    own, taken = expand({**step, "actions": [action, "typecheck"]})

    group = {"name": "checks", "description": "Check it"}
    assert (own.agent_id, own.task_type, own.input_data) == (None, "shell", {})
    assert (own.estimated_duration, own.priority) == ("1m", 0)
    assert own.metadata == {"a": 1, "b": 2, "agent": "linter", "step": {**group, "tool": "y"}}
    assert (taken.agent_id, taken.task_type, taken.input_data) == (AGENT, "check", {"path": "src"})
    assert (taken.estimated_duration, taken.priority) == ("5m", 3)
    assert taken.metadata == {"a": 1, "b": 1, "step": {**group, "tool": "x"}}


NO_ACTIONS: Final[list[tuple[Any, str]]] = [
    ([], "/steps/0/actions"),
    ({}, "/steps/0/actions"),
    ("lint", "/steps/0/actions"),
    ([7], "/steps/0/actions/0"),
    (["lint", []], "/steps/0/actions/1"),
    ([" "], "/steps/0/actions/0"),
]


@pytest.mark.parametrize(("actions", "pointer"), NO_ACTIONS)
def test_actions_are_a_list_of_objects_or_texts(actions: object, pointer: str) -> None:
    assert list(faults({"actions": actions})) == [pointer]


def test_names_come_from_the_id_if_it_can_be_one() -> None:
    tasks = expand(
        {"id": "fetch", "action": "get"},
        {"id": str(AGENT), "action": "parse"},
        {"id": 3, "action": "load"},
    )

    assert names(tasks) == ["fetch", "parse", "load"]
    assert tasks[1].metadata == {"step": {"id": str(AGENT)}}


def test_repeated_actions_are_told_apart_by_numbers() -> None:
    tasks = expand(
        *({"action": "lint"} for _ in range(3)),
        {"action": "lint-2"},
        {"name": "lint-3", "action": "x"},
    )

    assert names(tasks) == ["lint", "lint-4", "lint-5", "lint-2", "lint-3"]


@pytest.mark.parametrize("action", ["x" * 201, str(AGENT)])
def test_an_action_that_can_not_be_a_name_is_none(action: str) -> None:
    assert only({"action": action}).name is None


def test_a_task_that_is_needed_always_has_a_name() -> None:
    tasks = expand(
        {"step": "prepare", "actions": [{"description": "one"}, {"description": "two"}]},
        {"step": 2, "action": "x" * 201},
        {"step": "y" * 201, "description": "three"},
        {"step": 4, "description": "four", "depends_on": ["prepare", 2, "y" * 201]},
    )

    assert names(tasks) == ["step-prepare", "step-prepare-2", "step-2", "step-3", None]
    assert needs(tasks)[-1] == ["step-prepare", "step-prepare-2", "step-2", "step-3"]


@pytest.mark.parametrize("name", ["", " ", "x" * 201, str(AGENT), 7])
def test_a_name_that_is_given_must_be_one(name: object) -> None:
    assert list(faults({"name": name, "action": "a"})) == ["/steps/0/name"]


@pytest.mark.parametrize("reference", [1, "1", 1.0, "fetch", "get", {"step": 1}, {"task": "get"}])
def test_a_step_is_found_by_its_number_its_name_or_its_action(reference: object) -> None:
    tasks = expand(
        {"step": 1, "name": "fetch", "action": "get"},
        {"step": 2, "action": "parse", "depends_on": reference},
    )

    assert needs(tasks) == [[], ["fetch"]]


def test_a_step_without_a_number_is_found_by_its_place() -> None:
    tasks = expand({"name": "fetch"}, {"action": "parse"}, {"action": "load", "depends_on": [1, 2]})

    assert needs(tasks)[-1] == ["fetch", "parse"]


def test_a_number_that_is_given_comes_before_a_place() -> None:
    tasks = expand({"action": "a"}, {"step": 1, "action": "b"}, {"action": "c", "depends_on": 1})

    assert needs(tasks)[-1] == ["b"]


def test_a_dependency_says_what_it_asks_for() -> None:
    _, task = expand(
        {"step": 1, "action": "a"},
        {"step": 2, "action": "b", "depends_on": {"step": 1, "when": "failure", "type": "data"}},
    )

    (needed,) = task.depends_on
    assert (needed.when, needed.type) == (Condition.FAILURE, DependencyType.DATA)


def test_what_is_asked_twice_of_one_task_is_asked_once_with_all_of_it() -> None:
    _, task = expand(
        {"step": 1, "action": "a"},
        {
            "step": 2,
            "depends_on": [{"step": 1, "when": "ended", "type": "data"}],
            "actions": [{"action": "b", "depends_on": [1, "a"]}],
        },
    )

    (needed,) = task.depends_on
    assert (needed.when, needed.type) == (Condition.SUCCESS, DependencyType.DATA)


def test_no_task_is_needed_both_to_succeed_and_to_fail() -> None:
    assert faults(
        {"step": 1, "action": "a"},
        {"step": 2, "action": "b", "depends_on": [1, {"step": 1, "when": "failure"}]},
    ) == {"/steps/1/depends_on/1/step": "1 is needed to succeed and to fail"}


def test_an_action_needs_what_its_step_needs_and_more() -> None:
    tasks = expand(
        {"step": 1, "action": "fetch"},
        {
            "step": 2,
            "depends_on": 1,
            "actions": ["lint", {"action": "report", "depends_on": "lint"}],
        },
        {"step": 3, "action": "publish", "depends_on": "report"},
    )

    assert needs(tasks) == [[], ["fetch"], ["fetch", "lint"], ["report"]]


def test_an_action_looks_among_those_of_its_own_step_first() -> None:
    actions = ["lint", {"id": 2, "action": "report", "depends_on": "lint"}]

    tasks = expand(
        {"step": 1, "actions": actions},
        {"step": 2, "actions": [*actions, {"action": "mail", "depends_on": 2}]},
    )

    assert names(tasks) == ["lint", "report", "lint-2", "report-2", "mail"]
    assert needs(tasks) == [[], ["lint"], [], ["lint-2"], ["report-2"]]


def test_an_action_that_several_tasks_have_names_none_of_them() -> None:
    assert faults(
        {"action": "lint"}, {"action": "lint"}, {"action": "x", "depends_on": "lint"}
    ) == {"/steps/2/depends_on": "there are 2 actions 'lint'; give them names"}


def test_an_unknown_step_is_named_with_the_nearest_known_one() -> None:
    assert faults(
        {"step": 1, "action": "build"},
        {"step": 2, "action": "test", "depends_on": [1, "biuld"]},
        {"step": 3, "action": "ship", "depends_on": 12345},
    ) == {
        "/steps/1/depends_on/1": "there is no step or action 'biuld'; did you mean 'build'?",
        "/steps/2/depends_on": "there is no step or action 12345",
    }


@pytest.mark.parametrize(
    ("reference", "place"),
    [
        (True, ""),
        ([None], "/0"),
        ([[1]], "/0"),
        (10**30, ""),
        ({}, ""),
        ({"step": 1, "task": 1}, ""),
        ({"step": []}, "/step"),
        ({"step": 1, "when": "soon"}, "/when"),
        ({"step": 1, "type": "x"}, "/type"),
        ({"step": 1, "who": "x"}, "/who"),
    ],
)
def test_a_dependency_that_can_not_be_read_is_refused(reference: object, place: str) -> None:
    assert list(
        faults({"step": 1, "action": "a"}, {"step": 2, "action": "b", "depends_on": reference})
    ) == [f"/steps/1/depends_on{place}"]


@pytest.mark.parametrize(
    ("first", "second", "key"),
    [
        ({"step": 1}, {"step": 1}, "step"),
        ({"step": 1}, {"step": "1"}, "step"),
        ({"step": 1, "parallel_group": "A"}, {"step": 1, "parallel_group": "B"}, "step"),
        ({"step": 1}, {"id": 1}, "id"),
        ({"id": "a"}, {"name": "a"}, "name"),
        (
            {"name": "a", "parallel_group": "A"},
            {"name": "a", "parallel_group": "A"},
            "name",
        ),
    ],
)
def test_no_two_steps_are_called_the_same(
    first: dict[str, Any], second: dict[str, Any], key: str
) -> None:
    found = faults({"action": "x", **first}, {"action": "y", **second})

    assert list(found) == [f"/steps/1/{key}"]
    assert "is what /steps/0 is called already" in found[f"/steps/1/{key}"]


@pytest.mark.parametrize("number", [True, [], {}, 10**12])
def test_a_step_s_number_is_a_number_or_a_text(number: object) -> None:
    assert list(faults({"step": number, "action": "a"})) == ["/steps/0/step"]


def test_steps_of_one_number_and_one_group_are_a_stage() -> None:
    tasks = expand(
        {"step": 1, "parallel_group": "A", "action": "lint"},
        {"step": 1, "parallel_group": "A", "actions": ["unit", "types"]},
        {"step": 2, "action": "build", "depends_on": 1},
    )

    assert orders(tasks) == [1, 1, 1, 2]
    assert needs(tasks)[-1] == ["lint", "unit", "types"]


ORDERS: Final[list[tuple[list[dict[str, Any]], list[int]]]] = [
    ([{"step": 10}, {"step": 0}, {"step": 5.0}], [10, 0, 5]),
    ([{}, {}, {}], [1, 2, 3]),
    ([{"step": 10}, {"step": "b"}], [1, 2]),
    ([{"step": -1}, {"step": 1.5}], [1, 2]),
    ([{"step": 7}, {}], [1, 2]),
    (
        [
            {"parallel_group": "A"},
            {"parallel_group": "A"},
            {},
            {"parallel_group": "A"},
            {"parallel_group": "B"},
        ],
        [1, 1, 2, 3, 4],
    ),
    (
        [
            {"step": "a", "parallel_group": 1},
            {"parallel_group": "1"},
            {"step": "b", "parallel_group": 1},
            {"step": "a", "parallel_group": 1},
            {},
        ],
        [1, 1, 2, 1, 3],
    ),
]


@pytest.mark.parametrize(("steps", "expected"), ORDERS)
@pytest.mark.parametrize("plan_type", [SEQUENTIAL, PARALLEL])
def test_the_order_is_the_number_or_the_place_of_the_stage(
    steps: list[dict[str, Any]], expected: list[int], plan_type: str
) -> None:
    tasks = expand(*({"action": "x", **step} for step in steps), plan_type=plan_type)

    assert orders(tasks) == expected
    assert not any(needs(tasks))


def test_a_step_that_needs_itself_is_refused() -> None:
    assert faults(
        {"step": 1, "action": "a", "depends_on": 1},
        {"step": 2, "depends_on": "lint", "actions": ["lint", "types"]},
        {"step": 3, "actions": [{"action": "x", "depends_on": [3]}]},
    ) == {
        "/steps/0/depends_on": "1 can't need itself",
        "/steps/1/depends_on": "2 can't need itself",
        "/steps/2/actions/0/depends_on/0": "3 can't need itself",
    }


def test_a_cycle_is_named_with_its_path() -> None:
    assert faults(
        {"step": 1, "action": "a", "depends_on": 2}, {"step": 2, "action": "b", "depends_on": [1]}
    ) == {"/steps/0/depends_on": "they need each other, so that none can begin: 1 → 2 → 1"}


def test_a_cycle_through_actions_is_named_with_them() -> None:
    assert faults(
        {"step": 1, "actions": ["a", {"action": "b", "depends_on": "c"}]},
        {"step": 2, "actions": [{"action": "c", "depends_on": "d"}, "d"], "depends_on": "b"},
    ) == {
        "/steps/0/actions/1/depends_on": "they need each other, so that none can begin: b → c → b"
    }


def test_two_steps_may_need_actions_of_each_other() -> None:
    tasks = expand(
        {"step": 1, "actions": ["a", {"action": "b", "depends_on": "c"}]},
        {"step": 2, "actions": ["c", {"action": "d", "depends_on": "a"}]},
    )

    assert needs(tasks) == [[], ["c"], [], ["a"]]


def test_a_long_cycle_is_shortened() -> None:
    count = 1_000
    (fault,) = faults(
        *({"action": "x", "depends_on": (number + 1) % count + 1} for number in range(count))
    ).values()

    assert fault.endswith(": 1 → 2 → 3 → 4 → 5 → 6 → 7 → 8 → 9 → 10 → … → 1")


def test_in_a_sequential_plan_no_step_needs_a_later_one() -> None:
    steps = [{"step": 1, "action": "a", "depends_on": 2}, {"step": 2, "action": "b"}]

    assert needs(expand(*steps)) == [["b"], []]
    assert faults(*steps, plan_type=SEQUENTIAL) == {
        "/steps/0/depends_on": "in a sequential plan 1 can't need 2, which comes later"
    }


def test_in_a_sequential_plan_tasks_of_one_stage_may_need_each_other() -> None:
    tasks = expand(
        {"step": 1, "actions": ["lint", {"action": "report", "depends_on": "lint"}]},
        plan_type=SEQUENTIAL,
    )

    assert needs(tasks) == [[], ["lint"]]


def test_faults_of_tasks_stand_where_the_step_says_it() -> None:
    found = faults(
        {
            "action": "a",
            "title": "",
            "type": "x" * 201,
            "agent_id": "linter",
            "parallel_group": [],
            "estimated_duration": "soon",
            "priority": 101,
            "timeout_seconds": 0,
            "side_effects": "none at all",
            "retry_policy": {"max_retries": -1, "tries": 3},
            "not_before": "soon",
            "metadata": [],
        },
        {"actions": [7], "estimated_duration": "soon"},
        {"actions": ["a", "b"], "estimated_duration": "soon"},
    )

    assert set(found) == {
        "/steps/0/title",
        "/steps/0/type",
        "/steps/0/agent_id",
        "/steps/0/parallel_group",
        "/steps/0/estimated_duration",
        "/steps/0/priority",
        "/steps/0/timeout_seconds",
        "/steps/0/side_effects",
        "/steps/0/retry_policy/max_retries",
        "/steps/0/retry_policy/tries",
        "/steps/0/not_before",
        "/steps/0/metadata",
        "/steps/1/actions/0",
        "/steps/2/estimated_duration",
    }
    assert found["/steps/0/estimated_duration"] == (
        "it must be a duration such as 90s, 5m, 1h30m or PT5M; it is 'soon'"
    )
    assert found["/steps/0/priority"] == "input should be less than or equal to 100; it is 101"


def test_all_faults_of_all_steps_are_named_at_once() -> None:
    assert set(
        faults(
            {"step": 1, "action": "a", "depends_on": 3, "priority": "high"},
            {"step": 1, "description": 7},
            {"step": 3, "action": "b", "depends_on": [1, "x"]},
        )
    ) == {
        "/steps/0/priority",
        "/steps/1/step",
        "/steps/1/description",
        "/steps/2/depends_on/1",
        "/steps/0/depends_on",
    }


def test_a_plan_without_steps_makes_no_tasks() -> None:
    assert faults() == {"/steps": "the plan has no steps"}


def test_steps_that_could_not_be_kept_are_refused() -> None:
    assert faults({"action": "a"}, {"action": "a\x00", "n": [float("nan")]}) == {
        "/steps/1/action": "a text can't hold the character U+0000",
        "/steps/1/n/0": "a number must be finite",
    }


def test_limits_come_with_the_call() -> None:
    steps = [{"description": "boil"}]

    with pytest.raises(InvalidInput) as error:
        expanded(steps, plan_type=PARALLEL, limits=Limits(description=3))

    assert [fault.pointer for fault in error.value.faults] == ["/steps/0/description"]


def test_no_more_tasks_are_made_than_may_be_added_at_once() -> None:
    assert len(expand({"actions": ["a"] * MAX_BATCH})) == MAX_BATCH
    assert faults({"actions": ["a"] * MAX_BATCH}, {"action": "b"}) == {
        "/steps": "they come to 10001 tasks; at most 10000 are allowed"
    }


def test_small_steps_do_not_grow_without_bounds() -> None:
    crossed: list[dict[str, Any]] = [
        {"step": 1, "actions": ["a"] * 1_000},
        {"step": 2, "actions": ["b"] * 1_000, "depends_on": 1},
    ]

    assert faults(*crossed) == {
        "/steps/1/depends_on": "with it there are more than 100000 dependencies"
    }
    assert list(faults({"actions": ["a"] * 1_000, "input": {"x": "x" * 100_000}})) == ["/steps"]


def test_no_more_faults_are_named_than_can_be_read() -> None:
    assert (
        len(faults(*({"action": "a", "depends_on": "b" * 99} for _ in range(3_000)))) == MAX_FAULTS
    )


def test_ten_thousand_steps_take_a_moment() -> None:
    begun = time.process_time()

    tasks = expand(
        {"step": 0, "action": "x"},
        *({"step": n, "action": "x", "depends_on": [n - 1, 0]} for n in range(1, 10_000)),
        plan_type=SEQUENTIAL,
    )

    assert len(tasks) == 10_000
    assert time.process_time() - begun < 5  # it takes 0.5 s; were it quadratic, minutes


ANYTHING: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
WORDS: Final = st.sampled_from(["", "a", "b", "a-2", "step-1", "1", "2", str(AGENT), "x" * 200])
LABELS: Final = st.integers(0, 4) | WORDS | st.sampled_from([-1, 1.5, 2.0, 1e300, 10**400])
REFERENCES: Final = LABELS | st.fixed_dictionaries(
    {},
    optional={
        "step": LABELS,
        "task": LABELS,
        "when": st.sampled_from(["success", "ended", "failure", "x"]),
        "type": st.sampled_from(["data", "blocking"]),
    },
)
FIELDS: Final[dict[str, st.SearchStrategy[Any]]] = {
    "id": LABELS,
    "name": WORDS,
    "action": WORDS,
    "description": st.text(min_size=1, max_size=3),
    "depends_on": REFERENCES | st.lists(REFERENCES, max_size=3),
    "agent": WORDS,
    "type": WORDS,
    "input": st.dictionaries(WORDS, ANYTHING, max_size=2),
    "estimated_duration": st.sampled_from(["5m", 5, "x"]),
    "metadata": st.dictionaries(WORDS, ANYTHING, max_size=2),
}


def objects(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


ODD: Final = {name: values | ANYTHING for name, values in FIELDS.items()}


def steps_of(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(
        objects(
            {
                **fields,
                "step": LABELS,
                "parallel_group": st.sampled_from(["A", "B", 1, ""]),
                "actions": st.lists(objects(fields) | WORDS, max_size=3),
            }
        ),
        max_size=5,
    )


PLACES: Final = st.integers(1, 3)
WHENS: Final = st.sampled_from(["success", "ended"])
SOUND: Final[dict[str, st.SearchStrategy[Any]]] = {
    "action": st.sampled_from(["a", "b", "a-2", "step-1", "step-2", str(AGENT), "x" * 200]),
    "parallel_group": st.sampled_from(["A", "B"]),
    "depends_on": PLACES | st.lists(st.fixed_dictionaries({"step": PLACES, "when": WHENS})),
}
"""Only what may depend on what can be wrong with them."""


def sound(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"description": st.just("do it")}, optional=fields)


SOUND_STEPS: Final = st.lists(
    sound(SOUND) | sound({**SOUND, "actions": st.lists(sound(SOUND), min_size=1, max_size=3)}),
    min_size=3,
    max_size=5,
)
STEPS: Final = (
    SOUND_STEPS | steps_of(FIELDS) | steps_of(ODD) | st.lists(st.dictionaries(WORDS, ANYTHING))
)


def outcome(
    steps: list[dict[str, Any]], plan_type: str
) -> tuple[list[TaskDraft], tuple[Fault, ...]]:
    try:
        return expanded(steps, plan_type=plan_type), ()
    except InvalidInput as error:
        return [], error.faults


@given(STEPS, st.sampled_from([SEQUENTIAL, PARALLEL]))
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_steps_become_tasks_that_can_be_carried_out_or_are_refused_with_their_faults(
    steps: list[dict[str, Any]], plan_type: str
) -> None:
    tasks, found = outcome(steps, plan_type)

    assert bool(tasks) != bool(found)
    assert all(fault.pointer.startswith("/steps") for fault in found)
    given_names = [task.name for task in tasks if task.name is not None]
    assert len(set(given_names)) == len(given_names)
    # Those without a name are needed by none.
    waits = {task.name: needed for task, needed in zip(tasks, needs(tasks), strict=True)}
    assert all(set(needed) <= set(given_names) for needed in needs(tasks))
    assert find_cycle(waits) is None
    order = {task.name: task.sequence_order or 0 for task in tasks}
    if plan_type == SEQUENTIAL:
        assert all(
            order[name] <= (task.sequence_order or 0)
            for task, needed in zip(tasks, needs(tasks), strict=True)
            for name in needed
        )
