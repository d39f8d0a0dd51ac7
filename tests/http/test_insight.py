"""Seeing over the wire: progress, graphs and explanations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from planstore.models.graph import PlanGraph, to_dot, to_mermaid
from planstore.models.insight import PlanExplanation, Progress, TaskExplanation
from tests.http.wire import faults_of, new_plan, new_task, problem_of, some_id

if TYPE_CHECKING:
    import httpx2
    from pydantic import BaseModel

    from tests.http.wire import Json, Ledger

OF_PLANS = ("/plans/{}/progress", "/plans/{}/graph", "/plans/{}/explain")
PATHS = (*OF_PLANS, "/tasks/{}/explain")


def two_tasks(client: httpx2.Client) -> tuple[Json, Json, Json]:
    """A plan and its two tasks, of which one needs the other."""
    plan = new_plan(client, status="active", plan_type="dag")
    first = new_task(client, plan, name="first")
    return plan, first, new_task(client, plan, name="second", depends_on=["first"])


def seen(response: httpx2.Response, model: type[BaseModel]) -> Any:
    """Assert that a model is answered, whole."""
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "application/json"
    assert list(response.json()) == list(model.model_fields)
    return response.json()


@pytest.mark.parametrize("slash", ["", "/"])
def test_progress_is_answered(client: httpx2.Client, slash: str) -> None:
    plan, _, _ = two_tasks(client)

    answer = seen(client.get(f"/plans/{plan['id']}/progress{slash}"), Progress)

    assert (answer["plan_id"], answer["status"], answer["total"]) == (plan["id"], "active", 2)
    assert answer["counts"] == {
        **dict.fromkeys(("running", "completed", "failed", "skipped"), 0),
        "pending": 1,
        "blocked": 1,
    }
    assert (answer["percent"], answer["ready"], answer["basis"]) == (0.0, 1, "none")


@pytest.mark.parametrize("query", ["", "?format=json"])
def test_a_graph_is_answered_as_json(client: httpx2.Client, query: str) -> None:
    plan, first, second = two_tasks(client)

    answer = seen(client.get(f"/plans/{plan['id']}/graph{query}"), PlanGraph)

    assert [node["id"] for node in answer["nodes"]] == [first["id"], second["id"]]
    assert answer["edges"] == [
        {
            "task_id": second["id"],
            "needs_id": first["id"],
            "when": "success",
            "type": "blocking",
            "is_satisfied": False,
        }
    ]


@pytest.mark.parametrize(
    ("form", "media_type", "draw"),
    [("mermaid", "text/vnd.mermaid", to_mermaid), ("dot", "text/vnd.graphviz", to_dot)],
)
def test_a_graph_is_drawn(client: httpx2.Client, form: str, media_type: str, draw: Any) -> None:
    plan, _, _ = two_tasks(client)
    url = f"/plans/{plan['id']}/graph"
    graph = PlanGraph.model_validate_json(client.get(url).content)

    response = client.get(url, params={"format": form})

    assert response.status_code == 200
    assert response.headers["Content-Type"] == f"{media_type}; charset=utf-8"
    assert response.text == draw(graph)


def test_an_unknown_format_is_refused_with_those_that_are_known(client: httpx2.Client) -> None:
    plan = new_plan(client)

    faults = faults_of(client.get(f"/plans/{plan['id']}/graph", params={"format": "svg"}))

    assert faults == {"?format": "input should be 'json', 'mermaid' or 'dot'; it is 'svg'"}


def test_a_task_is_explained(client: httpx2.Client) -> None:
    _, first, second = two_tasks(client)

    answer = seen(client.get(f"/tasks/{second['id']}/explain"), TaskExplanation)

    assert answer["sentence"].startswith("It waits for 'first', which nobody has claimed since ")
    (reason,) = answer["reasons"]
    assert (reason["code"], reason["detail"]) == ("dependencies", answer["sentence"])
    assert [each["task_id"] for each in reason["tasks"]] == [first["id"]]
    assert (answer["would_unblock"], answer["blockers"][0]["name"]) == (0, "first")


def test_a_plan_is_explained(client: httpx2.Client) -> None:
    plan, first, _ = two_tasks(client)

    answer = seen(client.get(f"/plans/{plan['id']}/explain"), PlanExplanation)

    assert answer["unblocks_most"]["task_id"] == first["id"]
    assert answer["unblocks_most"]["holds_back"] == 1
    assert [each["code"] for each in answer["reasons"]] == ["ready", "dependencies"]


@pytest.mark.parametrize("path", PATHS)
def test_what_is_not_there_is_not_found(client: httpx2.Client, path: str) -> None:
    problem_of(client.get(path.format(some_id())), 404, "not_found")
    assert faults_of(client.get(path.format("7"))).keys() <= {"{plan_id}", "{task_id}"}


@pytest.mark.parametrize("path", PATHS)
def test_unknown_parameters_are_refused(client: httpx2.Client, path: str) -> None:
    assert faults_of(client.get(f"{path.format(some_id())}?limit=1")).keys() == {"?limit"}


def test_seeing_changes_nothing(client: httpx2.Client, ledger: Ledger) -> None:
    plan, _, task = two_tasks(client)
    with ledger.unchanged():
        for path in OF_PLANS:
            assert client.get(path.format(plan["id"])).status_code == 200
        assert client.get(f"/tasks/{task['id']}/explain").status_code == 200
