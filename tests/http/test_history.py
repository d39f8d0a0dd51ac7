"""Looking back over the wire: the past, revisions, and how they differ."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pytest

from planstore.models.history import PlanDiff, Revision, WholeRevision
from tests.http.wire import (
    done,
    faults_of,
    listed,
    new_plan,
    new_task,
    only,
    problem_of,
    some_id,
)

if TYPE_CHECKING:
    import httpx2

    from tests.http.wire import Json, Ledger

OF_PLANS: Final = ("/plans/{}/revisions", "/plans/{}/revisions/1", "/plans/{}/diff")


def now(ledger: Ledger) -> str:
    (row,) = ledger.ask("select clock_timestamp() as now")
    return row["now"].isoformat()


def shortened(client: httpx2.Client) -> tuple[Json, Json]:
    """A plan, and its task that got another description since."""
    plan = new_plan(client, status="active")
    return plan, new_task(client, plan, name="a")


def test_a_plan_and_its_tasks_are_answered_as_they_stood(
    client: httpx2.Client, ledger: Ledger
) -> None:
    plan, task = shortened(client)
    stood = done(client.get(f"/plans/{plan['id']}"))
    query = {"at": now(ledger)}
    done(client.patch(f"/tasks/{task['id']}", json={"description": "changed"}))
    done(client.patch(f"/plans/{plan['id']}", json={"metadata": {"n": 1}}))
    new_task(client, plan)

    assert done(client.get(f"/plans/{plan['id']}", params=query)) == stood
    assert done(client.get(f"/tasks/{task['id']}/", params=query)) == task
    assert listed(client.get("/tasks/", params={"plan_id": plan["id"], **query})) == [task]


def test_the_past_has_the_etag_that_it_had(client: httpx2.Client, ledger: Ledger) -> None:
    _, task = shortened(client)
    query = {"at": now(ledger)}
    done(client.patch(f"/tasks/{task['id']}", json={"description": "changed"}))

    for etag, status in (('"1"', 304), ('"2"', 200)):
        response = client.get(f"/tasks/{task['id']}", params=query, headers={"If-None-Match": etag})
        assert response.status_code == status
        assert response.headers["ETag"] == '"1"'


@pytest.mark.parametrize("zone", ["+00:00", " 00:00", "+0000", " 0000", "Z", "", "%2B00:00"])
def test_a_plus_that_was_not_escaped_is_still_a_zone(
    client: httpx2.Client, ledger: Ledger, zone: str
) -> None:
    plan, task = shortened(client)
    at = now(ledger).removesuffix("+00:00") + zone
    done(client.patch(f"/tasks/{task['id']}", json={"description": "changed"}))

    assert done(client.get(f"/tasks/{task['id']}?at={at}")) == task
    assert listed(client.get(f"/tasks/?plan_id={plan['id']}&at={at}")) == [task]


def test_a_blank_before_the_time_of_day_is_none(client: httpx2.Client) -> None:
    plan, _ = shortened(client)

    problem = problem_of(client.get(f"/plans/{plan['id']}?at=2020-01-01 10:00"), 404, "not_found")

    assert "there was no plan" in problem["detail"]
    assert "2020-01-01T10:00:00Z" in problem["detail"]
    assert plan["created_at"] in problem["detail"]


@pytest.mark.parametrize("at", ["soon", "", "0.5", "1700000000", "9999-12-31", "9000-01-01"])
def test_what_is_no_time_of_the_past_is_refused(client: httpx2.Client, at: str) -> None:
    plan, task = shortened(client)

    for path in (f"/plans/{plan['id']}", f"/tasks/{task['id']}", f"/tasks/?plan_id={plan['id']}"):
        response = client.get(path, params={**dict(re.findall(r"(plan_id)=(.+)", path)), "at": at})
        assert [*faults_of(response)] == ["?at"]


def test_of_the_past_no_list_of_all_plans_is_answered(
    client: httpx2.Client, ledger: Ledger
) -> None:
    query = {"at": now(ledger)}
    assert [*faults_of(client.get("/tasks/", params=query))] == ["?at"]
    query |= {"plan_id": new_plan(client)["id"], "status": "pending"}
    assert [*faults_of(client.get("/tasks/", params=query))] == ["?at"]


def test_what_was_deleted_has_a_past_and_no_present(client: httpx2.Client, ledger: Ledger) -> None:
    plan, task = shortened(client)
    query = {"at": now(ledger)}
    assert client.delete(f"/tasks/{task['id']}").status_code == 204

    assert done(client.get(f"/tasks/{task['id']}", params=query)) == task
    problem_of(client.get(f"/tasks/{task['id']}"), 404, "not_found")

    assert client.delete(f"/plans/{plan['id']}").status_code == 204

    assert done(client.get(f"/plans/{plan['id']}", params=query))["id"] == plan["id"]
    assert listed(client.get("/tasks/", params={"plan_id": plan["id"], **query})) == [task]
    for path in ("/plans/{}", *OF_PLANS):
        problem_of(client.get(path.format(plan["id"])), 404, "not_found")


def test_the_links_between_pages_of_the_past_keep_the_time(
    client: httpx2.Client, ledger: Ledger
) -> None:
    plan, first = shortened(client)
    second = new_task(client, plan)
    query = {"plan_id": plan["id"], "at": now(ledger), "limit": 1}
    new_task(client, plan, sequence_order=0)

    response = client.get("/tasks/", params=query)
    assert listed(response) == [first]
    link = re.fullmatch(r'<(.+)>; rel="next"', response.headers["Link"])
    assert link is not None
    response = client.get(link[1])
    assert listed(response) == [second]
    assert "Link" not in response.headers


def test_what_is_no_longer_kept_is_gone(client: httpx2.Client, ledger: Ledger) -> None:
    plan, task = shortened(client)
    ledger.ask("delete from planstore.events where plan_id = $1 and version = 1", plan["id"])

    for path in (
        f"/plans/{plan['id']}?at={plan['created_at']}",
        f"/tasks/{task['id']}?at={plan['created_at']}",
        f"/tasks/?plan_id={plan['id']}&at={plan['created_at']}",
        f"/plans/{plan['id']}/revisions/1",
        f"/plans/{plan['id']}/diff",
    ):
        problem_of(client.get(path), 410, "history_gone")


@pytest.mark.parametrize("slash", ["", "/"])
def test_revisions_are_listed_newest_first(client: httpx2.Client, slash: str) -> None:
    plan, _ = shortened(client)
    new_task(client, plan)

    newest, middle, oldest = listed(client.get(f"/plans/{plan['id']}/revisions{slash}"))

    assert list(newest) == list(Revision.model_fields)
    assert [each["revision"] for each in (newest, middle, oldest)] == [3, 2, 1]
    assert newest == {
        "revision": 3,
        "created_at": done(client.get(f"/plans/{plan['id']}"))["updated_at"],
        "by": None,
        "reason": None,
        "added": 1,
        "changed": 0,
        "removed": 0,
        "rewired": 0,
    }
    assert oldest["created_at"] == plan["created_at"]


def test_the_pages_of_revisions_are_linked(client: httpx2.Client) -> None:
    plan, _ = shortened(client)
    new_task(client, plan)
    path = f"/plans/{plan['id']}/revisions"

    response = client.get(path, params={"limit": 2})
    link = re.fullmatch(r'<(.+)>; rel="next"', response.headers["Link"])

    assert link is not None
    assert [each["revision"] for each in listed(client.get(link[1]))] == [1]
    assert [each["revision"] for each in listed(client.get(path, params={"offset": 2}))] == [1]
    assert [*faults_of(client.get(path, params={"cursor": "nonsense"}))] == ["?cursor"]


def test_a_revision_is_answered_with_the_structure_as_it_was(client: httpx2.Client) -> None:
    plan, task = shortened(client)
    change = {
        "reason": "shorter",
        "by": "me",
        "operations": [{"op": "change", "task": "a", "set": {"description": "less"}}],
    }
    path = f"/plans/{plan['id']}/revisions"
    assert client.post(path, json=change).status_code == 200

    before, after = (client.get(f"{path}/{number}").json() for number in (2, 3))

    assert list(before) == list(WholeRevision.model_fields)
    assert (before["by"], before["reason"], before["operations"]) == (None, None, None)
    assert (after["by"], after["reason"]) == ("me", "shorter")
    assert [each["op"] for each in after["operations"]] == ["change"]
    assert (after["changed"], after["added"], after["is_whole"]) == (1, 0, True)
    was, is_now = only(before["tasks"]), only(after["tasks"])
    assert was == {name: task[name] for name in was if name != "depends_on"} | {"depends_on": []}
    assert is_now == {**was, "description": "less"}


@pytest.mark.parametrize("number", ["0", "-1", "two", "9999999999", "1.5", "%20"])
def test_what_is_no_number_of_a_revision_is_refused(client: httpx2.Client, number: str) -> None:
    plan = new_plan(client)

    assert [*faults_of(client.get(f"/plans/{plan['id']}/revisions/{number}"))] == ["{revision}"]


def test_a_difference_is_answered_in_both_directions(client: httpx2.Client) -> None:
    plan, task = shortened(client)
    needing: dict[str, Any] = {"depends_on": [{"task": "a", "when": "ended"}]}
    other = new_task(client, plan, name="b", **needing)
    done(client.patch(f"/tasks/{task['id']}", json={"not_before": "2020-01-01T00:00:00+02:00"}))
    path = f"/plans/{plan['id']}/diff"

    there = client.get(f"{path}?from=2").json()
    back = client.get(f"{path}?from=3&to=1").json()

    assert list(there) == list(PlanDiff.model_fields)
    assert (there["from_revision"], there["to_revision"]) == (2, 3)
    added = only(there["added"])
    assert (added["id"], added["name"]) == (other["id"], "b")
    needed = {"task_id": task["id"], "name": "a", "when": "ended", "type": "blocking"}
    assert added["depends_on"] == [needed]
    assert there["changed"] == [
        {
            "id": task["id"],
            "name": "a",
            "fields": {"not_before": {"old": None, "new": "2019-12-31T22:00:00Z"}},
        }
    ]
    assert there["rewired"] == there["removed"] == back["added"] == []
    assert [each["id"] for each in back["removed"]] == [task["id"], other["id"]]


def test_a_question_about_a_difference_is_refused_by_the_names_that_it_uses(
    client: httpx2.Client,
) -> None:
    plan = new_plan(client)
    path = f"/plans/{plan['id']}/diff"

    assert [*faults_of(client.get(f"{path}?from=0&to=x"))] == ["?from", "?to"]
    assert "did you mean 'from'?" in faults_of(client.get(f"{path}?form=1"))["?form"]
    assert faults_of(client.get(f"{path}?since=1")) == {
        "?since": "it is unknown; known are: from, to"
    }
    problem = problem_of(client.get(f"{path}?from=2"), 404, "not_found")
    assert problem["detail"] == f"plan {plan['id']} has no revision 2; it has 1 to 1"


@pytest.mark.parametrize("path", OF_PLANS)
def test_an_unknown_plan_has_no_history(client: httpx2.Client, path: str) -> None:
    problem_of(client.get(path.format(some_id())), 404, "not_found")
    assert [*faults_of(client.get(path.format("nonsense")))] == ["{plan_id}"]
    assert [*faults_of(client.get(path.format(some_id()), params={"x": "1"}))] == ["?x"]
