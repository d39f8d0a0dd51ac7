"""Lists of tasks: their order, their pages, and what can't be asked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import httpx2
import pytest

from tests.http.wire import done, faults_of, listed, new_plan, new_task, some_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.http.conftest import OpenApp
    from tests.http.wire import Json


def pages(client: httpx2.Client, query: dict[str, Any]) -> Iterator[list[Json]]:
    """Follow the Link headers to the end."""
    response = client.get("/tasks/", params=query)
    yield listed(response)
    while (link := response.headers.get("Link")) is not None:
        match = re.fullmatch(r'<(.+)>; rel="next"', link)
        assert match is not None, link
        assert httpx2.URL(match[1]).host == client.base_url.host
        response = client.get(match[1])
        yield listed(response)


def test_the_tasks_of_a_plan_come_in_order_then_in_order_of_creation(
    client: httpx2.Client,
) -> None:
    plan = new_plan(client)
    orders = [3, 1, 2, 1, None, 2]
    tasks = [new_task(client, plan, sequence_order=order) for order in orders]
    new_task(client, new_plan(client))

    answer = listed(client.get("/tasks/", params={"plan_id": plan["id"]}))

    assert answer == [tasks[place] for place in (1, 3, 2, 5, 0, 4)]


def test_the_most_recent_tasks_of_all_plans_come_newest_first(client: httpx2.Client) -> None:
    plans = [new_plan(client) for _ in range(3)]
    tasks = [new_task(client, plan, sequence_order=9 - n) for n in range(3) for plan in plans]

    assert listed(client.get("/tasks/?limit=9")) == tasks[::-1]
    assert listed(client.get("/tasks/?limit=2&offset=1")) == [tasks[7], tasks[6]]


def test_a_plan_without_tasks_and_an_unknown_one_list_none(client: httpx2.Client) -> None:
    for plan_id in (new_plan(client)["id"], some_id()):
        response = client.get("/tasks/", params={"plan_id": plan_id})
        assert listed(response) == []
        assert "Link" not in response.headers


def test_a_hundred_tasks_are_listed_where_no_limit_is_given(client: httpx2.Client) -> None:
    plan = new_plan(client)
    tasks = [new_task(client, plan) for _ in range(101)]
    query = {"plan_id": plan["id"]}

    assert list(pages(client, query)) == [tasks[:100], tasks[100:]]
    assert len(listed(client.get("/tasks/"))) == 100
    assert listed(client.get("/tasks/", params={**query, "limit": 1_000})) == tasks
    assert "Link" not in client.get("/tasks/", params={**query, "limit": 101}).headers


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 7, 8])
def test_the_pages_of_a_plan_have_no_gap_and_no_twin(client: httpx2.Client, limit: int) -> None:
    plan = new_plan(client)
    for order in (2, 1, 1, 2, 1, 3, 1):
        new_task(client, plan, sequence_order=order)
    whole = listed(client.get("/tasks/", params={"plan_id": plan["id"]}))

    parts = list(pages(client, {"plan_id": plan["id"], "limit": limit}))

    assert [task for part in parts for task in part] == whole
    assert all(len(part) == limit for part in parts[:-1])
    assert 1 <= len(parts[-1]) <= limit


def test_the_pages_of_all_tasks_have_no_gap_and_no_twin(client: httpx2.Client) -> None:
    plan = new_plan(client)
    for _ in range(7):
        new_task(client, plan)
    whole = [task["id"] for task in listed(client.get("/tasks/?limit=1000"))]

    every = [task["id"] for page in pages(client, {"limit": 10}) for task in page]

    assert every == whole
    assert len(set(every)) == len(every)


def test_pages_stay_in_step_while_tasks_are_added_and_changed(client: httpx2.Client) -> None:
    plan = new_plan(client)
    tasks = [new_task(client, plan, sequence_order=order) for order in (10, 20, 30, 40)]
    following = pages(client, {"plan_id": plan["id"], "limit": 2})
    seen = [task["id"] for task in next(following)]

    new_task(client, plan, sequence_order=5)
    late = new_task(client, plan, sequence_order=35)
    done(client.patch(f"/tasks/{tasks[0]['id']}", json={"status": "completed"}))
    seen += [task["id"] for page in following for task in page]

    assert seen == [each["id"] for each in (*tasks[:3], late, tasks[3])]


def test_an_offset_counts_on_the_first_page_only(client: httpx2.Client) -> None:
    plan = new_plan(client)
    tasks = [new_task(client, plan) for _ in range(6)]

    parts = list(pages(client, {"plan_id": plan["id"], "limit": 2, "offset": 1}))

    assert parts == [tasks[1:3], tasks[3:5], tasks[5:]]


def test_an_offset_beyond_the_end_lists_none(client: httpx2.Client) -> None:
    plan = new_plan(client)
    new_task(client, plan)

    query = {"plan_id": plan["id"], "offset": 1_000_000_000}
    assert listed(client.get("/tasks/", params=query)) == []


FAULTS: Final = {
    "limit=0": "?limit",
    "limit=-1": "?limit",
    "limit=1001": "?limit",
    "limit=": "?limit",
    "limit=ten": "?limit",
    "limit=1e2": "?limit",
    "limit=9999999999999999999999": "?limit",
    "limit=NaN": "?limit",
    "limit=5&limit=5": "?limit",
    "offset=-1": "?offset",
    "offset=1000000001": "?offset",
    "offset=x": "?offset",
    "plan_id=": "?plan_id",
    "plan_id=770e8400": "?plan_id",
    "plan_id=null": "?plan_id",
    "cursor=": "?cursor",
    "cursor=x": "?cursor",
    "cursor=W10": "?cursor",
    "cursor=%00%ff": "?cursor",
    "cursor=WzEsMiwzXQ": "?cursor",
    "planid=770e8400-e29b-41d4-a716-446655440002": "?planid",
    "status=ready": "?status",
    "Limit=5": "?Limit",
    "%00=1": "?\x00",
    "limit": "?limit",
}


@pytest.mark.parametrize(("query", "pointer"), FAULTS.items())
def test_what_can_not_be_asked_of_a_list_is_refused(
    client: httpx2.Client, query: str, pointer: str
) -> None:
    assert faults_of(client.get(f"/tasks/?{query}")).keys() == {pointer}


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [("planid", "plan_id"), ("limt", "limit"), ("ofset", "offset"), ("curser", "cursor")],
)
def test_a_misspelt_parameter_is_refused_with_the_nearest_name(
    client: httpx2.Client, misspelt: str, meant: str
) -> None:
    faults = faults_of(client.get("/tasks/", params={misspelt: "1"}))

    assert faults == {f"?{misspelt}": f"it is unknown; did you mean {meant!r}?"}


def test_all_faults_of_a_query_are_named_at_once(client: httpx2.Client) -> None:
    faults = faults_of(client.get("/tasks/?limit=0&offset=-1&plan_id=x&colour=red"))

    assert faults.keys() == {"?limit", "?offset", "?plan_id", "?colour"}


def test_faults_of_a_window_are_named_at_once(client: httpx2.Client) -> None:
    faults = faults_of(client.get("/tasks/?limit=1001&offset=1000000001"))

    assert faults == {
        "?limit": "it is 1001; allowed are 1 to 1000",
        "?offset": "it is 1000000001; allowed are 0 to 1000000000",
    }


def test_the_cursor_of_one_list_is_not_taken_by_the_other(client: httpx2.Client) -> None:
    plan = new_plan(client)
    for _ in range(2):
        new_task(client, plan)
    of_all = _cursor(client, {"limit": 1})
    of_plan = _cursor(client, {"limit": 1, "plan_id": plan["id"]})

    for query in ({"cursor": of_plan}, {"cursor": of_all, "plan_id": plan["id"]}):
        assert faults_of(client.get("/tasks/", params=query)).keys() == {"?cursor"}


def _cursor(client: httpx2.Client, query: dict[str, Any]) -> str:
    link = client.get("/tasks/", params=query).headers["Link"]
    return httpx2.URL(link[1 : link.index(">")]).params["cursor"]


@pytest.mark.parametrize("path", ["/plans/{}", "/plans/{}/", "/health", "/livez"])
def test_a_route_without_parameters_refuses_them(client: httpx2.Client, path: str) -> None:
    path = path.format(new_plan(client)["id"])
    if path.startswith("/plans"):
        assert faults_of(client.get(path, params={"limit": 1})).keys() == {"?limit"}
    else:  # a probe may add what it likes
        assert client.get(path, params={"t": 1}).status_code == 200


async def test_the_highest_limit_is_a_setting(open_app: OpenApp) -> None:
    async with open_app() as client:
        response = await client.get("/tasks/?limit=1000")
        assert response.status_code == 200
        assert faults_of(await client.get("/tasks/?limit=1001")).keys() == {"?limit"}
