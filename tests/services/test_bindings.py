"""Bindings: what a task's input takes from the outputs of others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from planstore.models import TaskBatch, TaskDraft, TaskUpdate
from planstore.models import TaskStatus as S
from planstore.models.claim import MAX_PACKET_OUTPUT
from planstore.models.dependency import DependenciesUpdate
from tests.arranging import plan_of, status_of, task_of
from tests.holder import claim, complete
from tests.services.weaving import claimed, woven

if TYPE_CHECKING:
    from planstore.models import Task
    from planstore.services.plan_store import PlanStore

pytestmark = pytest.mark.usefixtures("stays_healthy")


OUTPUT: dict[str, Any] = {
    "text": "oat",
    "number": 7,
    "list": [{"deep": True}, None],
    "a.b": "unreachable",
}


async def resolved_of(store: PlanStore, input_data: dict[str, Any]) -> dict[str, Any] | None:
    """What a task is handed whose input may take from the output of `fetch`."""
    plan, _ = await woven(
        store, {"fetch": [], "use": ["fetch"]}, fields={"use": {"input_data": input_data}}
    )
    await complete(store, await claimed(store, plan), output_data=OUTPUT)
    packet = await claimed(store, plan)
    assert packet.input_data == input_data
    return packet.resolved_input


async def test_a_whole_text_becomes_the_very_value_and_parts_are_filled_in(
    store: PlanStore,
) -> None:
    given = {
        "whole": "{{fetch}}",
        "text": "{{fetch.text}}",
        "number": "{{fetch.number}}",
        "list": ["{{fetch.list.0}}", {"deep": "{{fetch.list.0.deep}}"}, "{{fetch.list.1}}"],
        "parts": "{{fetch.text}}: {{fetch.number}}, {{fetch.list}}",
    }

    assert await resolved_of(store, given) == {
        "whole": OUTPUT,
        "text": "oat",
        "number": 7,
        "list": [{"deep": True}, {"deep": True}, None],
        "parts": 'oat: 7, [{"deep":true},null]',
    }


async def test_all_other_braces_are_plain_text(store: PlanStore) -> None:
    given = {
        "other": "{{taskId}} {{#if fetch}} ${{ secrets.X }} {{ fetch.text }} {{Fetch.text}}",
        "params": "{{params.goal}}",
        "{{fetch.text}}": "a key",
        "mixed": "{{taskId}}: {{fetch.text}} }}",
    }

    assert await resolved_of(store, given) == {**given, "mixed": "{{taskId}}: oat }}"}


async def test_an_input_without_bindings_is_handed_over_as_it_is(store: PlanStore) -> None:
    assert await resolved_of(store, {"n": [1, {"x": None}]}) == {"n": [1, {"x": None}]}


async def needs_of(store: PlanStore, task: Task) -> list[tuple[str | None, str, str]]:
    told = await store.list_dependencies(task.id)
    return [(each.name, each.when.value, each.type.value) for each in told]


async def test_naming_a_task_makes_it_a_dependency_of_data(store: PlanStore) -> None:
    plan = await plan_of(store, plan_type="dag")
    await task_of(store, plan, name="fetch")

    task = await task_of(store, plan, input_data={"n": "{{fetch.number}} {{nobody.x}}"})

    assert await needs_of(store, task) == [("fetch", "success", "data")]
    assert (task.status, task.status_reason) == (S.BLOCKED, "dependencies")


async def test_naming_a_task_that_is_needed_already_keeps_what_is_asked_of_it(
    store: PlanStore,
) -> None:
    plan = await plan_of(store, plan_type="dag")
    await task_of(store, plan, name="fetch")

    task = await task_of(
        store,
        plan,
        input_data={"n": "{{fetch.number}}"},
        depends_on=[{"task": "fetch", "when": "ended"}],
    )

    assert await needs_of(store, task) == [("fetch", "ended", "data")]


async def test_tasks_of_one_batch_take_from_each_other(store: PlanStore) -> None:
    plan = await plan_of(store, plan_type="dag")
    drafts = [
        TaskDraft(description="do it", name="use", input_data={"n": "{{fetch.number}}"}),
        TaskDraft(description="do it", name="fetch"),
    ]

    use, fetch = await store.create_tasks(TaskBatch(plan_id=plan.id, tasks=drafts))

    assert (use.status, fetch.status) == (S.BLOCKED, S.PENDING)
    assert await needs_of(store, use) == [("fetch", "success", "data")]


async def test_an_input_that_names_other_tasks_needs_those_instead(store: PlanStore) -> None:
    plan, tasks = await woven(
        store,
        {"a": [], "b": [], "c": [], "use": ["a"]},
        fields={"use": {"input_data": {"n": "{{b.n}}"}}},
    )
    assert await needs_of(store, tasks["use"]) == [
        ("a", "success", "blocking"),
        ("b", "success", "data"),
    ]

    await store.update_task(tasks["use"].id, TaskUpdate(input_data={"n": "{{c.n}}"}))

    assert await needs_of(store, tasks["use"]) == [
        ("a", "success", "blocking"),
        ("c", "success", "data"),
    ]
    assert [packet.name for packet in await claim(store, plan=plan)] == ["a", "b", "c"]


async def test_what_the_input_names_stays_needed_whatever_is_unwired(store: PlanStore) -> None:
    _, tasks = await woven(
        store, {"a": [], "b": [], "use": ["a"]}, fields={"use": {"input_data": {"n": "{{b.n}}"}}}
    )

    await store.set_dependencies(tasks["use"].id, DependenciesUpdate())

    assert await needs_of(store, tasks["use"]) == [("b", "success", "data")]


@pytest.mark.parametrize("path", ["missing", "list.2", "number.x", "a.b"])
async def test_a_path_that_is_not_there_fails_the_task_and_is_named(
    store: PlanStore, path: str
) -> None:
    _, tasks = await woven(
        store,
        {"fetch": [], "use": ["fetch"], "other": []},
        fields={"use": {"input_data": {"x": [f"{{{{fetch.{path}}}}}"]}, "priority": 1}},
    )
    fetch = next(packet for packet in await claim(store) if packet.name == "fetch")
    await complete(store, fetch, output_data=OUTPUT)

    assert await claim(store) == []

    failed = await store.get_task(tasks["use"].id)
    assert failed.status == S.FAILED
    assert isinstance(failed.error, dict)
    assert failed.error["code"] == "binding_error"
    assert f"{{{{fetch.{path}}}}}" in failed.error["message"]
    assert [fault["pointer"] for fault in failed.error["faults"]] == ["/x/0"]


async def test_a_task_that_can_not_be_bound_does_not_keep_the_others_from_being_handed_out(
    store: PlanStore,
) -> None:
    plan, tasks = await woven(
        store,
        {"fetch": [], "bad": ["fetch"], "good": ["fetch"], "after": ["bad"]},
        fields={
            "bad": {"input_data": {"n": "{{fetch.missing}}"}, "priority": 1},
            "good": {"input_data": {"n": "{{fetch.number}}"}},
        },
        on_failure="skip",
    )
    await complete(store, await claimed(store, plan), output_data=OUTPUT)

    (packet,) = await claim(store, limit=1)

    assert (packet.name, packet.resolved_input) == ("good", {"n": 7})
    assert (await store.get_task(tasks["bad"].id)).status == S.FAILED
    assert (await store.get_task(tasks["after"].id)).status == S.SKIPPED
    await complete(store, packet)
    assert await status_of(store, plan) == "failed"


async def test_what_is_bound_is_whole_though_the_packet_holds_only_a_link(
    store: PlanStore,
) -> None:
    plan, _ = await woven(
        store,
        {"fetch": [], "use": []},
        fields={"use": {"input_data": {"text": "{{fetch.text}}"}}},
    )
    text = "x" * MAX_PACKET_OUTPUT
    await complete(store, await claimed(store, plan), output_data={"text": text})

    packet = await claimed(store, plan)

    assert packet.resolved_input == {"text": text}
    (needed,) = packet.dependencies
    assert (needed.output_data, needed.output_link) == (None, f"/tasks/{needed.task_id}")


async def test_what_was_bound_is_not_looked_through_again(store: PlanStore) -> None:
    plan, _ = await woven(
        store,
        {"fetch": [], "use": []},
        fields={"use": {"input_data": {"text": "{{fetch.text}}"}}},
    )
    output = {"text": "{{fetch.text}} {{use.text}}"}
    await complete(store, await claimed(store, plan), output_data=output)

    assert (await claimed(store, plan)).resolved_input == output


async def test_nothing_is_taken_from_a_task_that_ended_without_output(store: PlanStore) -> None:
    plan, tasks = await woven(
        store,
        {"fetch": [], "use": [{"task": "fetch", "when": "ended"}]},
        fields={"use": {"input_data": {"all": "{{fetch}}"}}},
    )
    await store.skip_task(tasks["fetch"].id)

    assert (await claimed(store, plan)).resolved_input == {"all": None}
