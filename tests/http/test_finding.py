"""Finding over the wire: what filters, sorts and cursors look like in a query."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final

import pytest

from tests.http.wire import claimed, done, faults_of, listed, new_plan, new_task, only, some_id
from tests.served import PATIENCE

if TYPE_CHECKING:
    import httpx2

    from tests.http.wire import Json, Ledger


def found(client: httpx2.Client, path: str, **query: object) -> list[Json]:
    return listed(client.get(path, params=query))  # pyright: ignore[reportArgumentType] - texts, numbers and lists of them


def test_plans_are_listed_newest_first_with_a_link_to_the_next_page(client: httpx2.Client) -> None:
    goal = some_id()
    plans = [new_plan(client, goal_id=goal) for _ in range(3)]

    first = client.get("/plans/", params={"goal_id": goal, "limit": 2})

    assert listed(first) == plans[:0:-1]
    link = re.fullmatch(r'<(.+)>; rel="next"', first.headers["Link"])
    assert link is not None
    assert listed(client.get(link[1])) == plans[:1]
    assert listed(client.get("/plans", params={"goal_id": goal})) == plans[::-1]


def test_a_filter_that_is_repeated_means_any_of_its_values(client: httpx2.Client) -> None:
    goals = [some_id(), some_id()]
    plans = [new_plan(client, goal_id=goal) for goal in goals]
    new_plan(client, goal_id=some_id())
    tasks = [new_task(client, plan) for plan in plans]

    assert found(client, "/plans/", goal_id=goals) == found(client, "/plans/", goal_id=goals[::-1])
    listed_plans = found(client, "/plans/", goal_id=goals, status=["draft", "failed"])
    assert [plan["id"] for plan in listed_plans] == [plan["id"] for plan in plans[::-1]]
    plan_ids = [plan["id"] for plan in plans]
    assert found(client, "/tasks/", plan_id=plan_ids) == tasks[::-1]
    assert found(client, "/tasks/", plan_id=plan_ids, status="pending") == tasks[::-1]


def test_labels_and_parts_of_metadata_that_are_repeated_have_to_be_there_all(
    client: httpx2.Client,
) -> None:
    mark = some_id()
    plan = new_plan(client, labels=[mark, "ä b"], metadata={"mark": mark, "n": {"deep": [1, 2]}})
    other = new_plan(client, labels=[mark])

    assert found(client, "/plans/", label=mark) == [other, plan]
    assert found(client, "/plans/", label=[mark, "ä b"]) == [plan]
    parts = [f'{{"mark": "{mark}"}}', '{"n": {"deep": [2]}}']
    assert found(client, "/plans/", metadata=parts) == [plan]
    assert found(client, "/plans/", metadata=[parts[0], '{"n": {"deep": [3]}}']) == []


def test_tasks_are_found_by_all_that_they_have(client: httpx2.Client) -> None:
    mark, agent = some_id(), some_id()
    plan = new_plan(client, status="active", plan_type="dag")
    task = new_task(
        client,
        plan,
        name="build",
        agent_id=agent,
        task_type=mark[:8],
        labels=[mark],
        metadata={"mark": mark},
        description=f"paint {mark}",
    )
    new_task(client, plan)

    for query in (
        {"agent_id": agent},
        {"task_type": mark[:8]},
        {"label": mark},
        {"metadata": f'{{"mark": "{mark}"}}'},
        {"words": f"{mark} Paint"},
        {"plan_id": plan["id"], "name": "build"},
        {"agent_id": agent, "ready": "true"},
        {"agent_id": agent, "created_after": plan["created_at"]},
    ):
        assert found(client, "/tasks/", **query) == [task]
    assert found(client, "/tasks/", agent_id=agent, created_before=plan["created_at"]) == []
    packet = only(claimed(client, plan, worker_id=mark, agent_id=agent))
    assert [each["id"] for each in found(client, "/tasks/", worker=mark)] == [packet["id"]]
    assert found(client, "/tasks/", agent_id=agent, ready="true") == []


def test_a_time_may_have_a_plus_in_its_zone(client: httpx2.Client) -> None:
    goal = some_id()
    plan = new_plan(client, goal_id=goal)

    for moment in ("2020-01-01T00:00:00+02:00", "2020-01-01T00:00:00", "2020-01-01"):
        answer = client.get(f"/plans/?goal_id={goal}&created_after={moment}")
        assert listed(answer) == [plan]


def test_tasks_are_sorted_as_asked(client: httpx2.Client) -> None:
    plan = new_plan(client)
    tasks = [new_task(client, plan, priority=priority) for priority in (1, 3, 2)]
    query = {"plan_id": plan["id"], "sort": "-priority"}

    assert found(client, "/tasks/", **query) == [tasks[1], tasks[2], tasks[0]]
    first = client.get("/tasks/", params={**query, "limit": 1})
    link = re.fullmatch(r'<(.+)>; rel="next"', first.headers["Link"])
    assert link is not None
    assert listed(client.get(link[1])) == [tasks[2]]
    cursor = link[1].partition("cursor=")[2]
    for other in ({"plan_id": plan["id"]}, {}, {"sort": "priority"}):
        refused = client.get("/tasks/", params={**other, "cursor": cursor})
        assert "with the sort" in faults_of(refused)["?cursor"]


def test_a_server_indexes_the_words_of_new_tasks(client: httpx2.Client, ledger: Ledger) -> None:
    word = some_id()
    task = new_task(client, new_plan(client), description=f"paint {word}")

    deadline = time.monotonic() + PATIENCE
    while not ledger.ask(_INDEXED, task["id"]):
        assert found(client, "/tasks/", words=word) == [task]
        assert time.monotonic() < deadline
        time.sleep(0.01)  # between two looks; nothing is ordered by it

    assert found(client, "/tasks/", words=word) == [task]


_INDEXED: Final = "select 1 from planstore.task_words where $1 = any (task_ids)"

FAULTS: Final = {
    "/plans/?status=running": "?status",
    "/plans/?status=draft&status=pending": "?status/1",
    "/plans/?goal_id=": "?goal_id",
    "/plans/?label=": "?label",
    "/plans/?metadata=x": "?metadata",
    "/plans/?metadata=[1]": "?metadata",
    "/plans/?metadata={}&metadata=7": "?metadata/1",
    '/plans/?metadata={"a":"%5Cu0000"}': "?metadata/a",
    "/plans/?words=": "?words",
    "/plans/?words=a&words=b": "?words",
    "/plans/?created_after=yesterday": "?created_after",
    "/plans/?sort=priority": "?sort",
    "/plans/?sort=created_at&sort=updated_at": "?sort",
    "/plans/?ready=true": "?ready",
    "/plans/?limit=1&limit=2": "?limit",
    "/tasks/?ready=false": "?ready",
    "/tasks/?ready=maybe": "?ready",
    "/tasks/?sort=created": "?sort",
    "/tasks/?worker=%00": "?worker",
    "/tasks/?name=" + "x" * 201: "?name",
    "/tasks/?status=pending&at=2020-01-01": "?at",
    "/tasks/?goal_id=" + "0" * 32: "?goal_id",
}


@pytest.mark.parametrize(("path", "pointer"), FAULTS.items())
def test_what_can_not_be_looked_for_is_refused(
    client: httpx2.Client, path: str, pointer: str
) -> None:
    assert faults_of(client.get(path)).keys() == {pointer}


def test_too_many_values_are_refused(client: httpx2.Client) -> None:
    query = {"status": ["draft"] * 101}

    assert faults_of(client.get("/plans/", params=query)).keys() == {"?status"}


def test_a_misspelt_filter_is_refused_with_the_nearest_name(client: httpx2.Client) -> None:
    faults = faults_of(client.get("/plans/?plantype=dag&labels=x&page=2"))

    assert faults["?plantype"] == "it is unknown; did you mean 'plan_type'?"
    assert faults["?labels"] == "it is unknown; did you mean 'label'?"
    assert "?page" in faults


LABELS: Final = {
    '["a", "a"]': "/labels",
    '[""]': "/labels/0",
    '["ok", " "]': "/labels/1",
    '["%s"]' % ("x" * 101): "/labels/0",
    "[7]": "/labels/0",
    '"a"': "/labels",
    "null": "/labels",
}


@pytest.mark.parametrize(("labels", "pointer"), LABELS.items())
def test_labels_that_can_not_be_kept_are_refused(
    client: httpx2.Client, labels: str, pointer: str
) -> None:
    plan = new_plan(client, labels=["a"])

    for method, path in (("POST", "/plans/"), ("PATCH", f"/plans/{plan['id']}")):
        answer = client.request(method, path, content=f'{{"labels": {labels}}}')
        assert faults_of(answer).keys() == {pointer}
    assert done(client.get(f"/plans/{plan['id']}")) == plan
