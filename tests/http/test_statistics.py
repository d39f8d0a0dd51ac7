"""Evaluations, statistics and metrics over the wire."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from planstore.models.evaluation import Evaluation
from planstore.models.statistics import Statistics, Timeline
from planstore.routers.gate import Admission
from tests.http.wire import faults_of, new_plan, new_task, problem_of, some_id

if TYPE_CHECKING:
    import httpx2

    from tests.http.conftest import OpenApp
    from tests.http.wire import Json


def completed(client: httpx2.Client, **fields: object) -> Json:
    task = new_task(client, new_plan(client, status="active"), **fields)
    answer = client.post(f"/tasks/{task['id']}/complete", json={})
    assert answer.status_code == 200
    return answer.json()


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_task_is_evaluated(client: httpx2.Client, slash: str) -> None:
    task = completed(client)
    path = f"/tasks/{task['id']}/evaluations{slash}"

    made = client.post(
        path, json={"evaluation_type": "quality", "score": 1, "metrics": {"f1": 0.9}}
    )

    assert made.status_code == 201
    assert list(made.json()) == list(Evaluation.model_fields)
    assert (made.json()["score"], made.json()["metrics"]) == (1.0, {"f1": 0.9})
    assert client.get(path).json() == [made.json()]
    more = client.post(path, json={"evaluation_type": "quality", "score": 0.5})
    first = client.get(path, params={"limit": 1})
    assert first.json() == [made.json()]
    assert client.get(first.links["next"]["url"]).json() == [more.json()]


def test_all_faults_of_an_evaluation_are_named(client: httpx2.Client) -> None:
    answer = client.post(
        f"/tasks/{some_id()}/evaluations", json={"score": 2, "evaluation_typ": "x", "metrics": []}
    )

    assert answer.status_code == 422
    assert set(faults_of(answer)) >= {"/evaluation_type", "/score", "/evaluation_typ", "/metrics"}


def test_what_nothing_came_of_is_not_evaluated(client: httpx2.Client) -> None:
    task = new_task(client, new_plan(client))

    answer = client.post(
        f"/tasks/{task['id']}/evaluations", json={"evaluation_type": "quality", "score": 1}
    )

    problem_of(answer, 409, "invalid_transition")
    assert client.get(f"/tasks/{task['id']}/evaluations").json() == []


def test_statistics_are_told_soon_after(client: httpx2.Client) -> None:
    kind = f"soon-{some_id()}"
    completed(client, task_type=kind)

    deadline = time.monotonic() + 15
    while True:
        answer = client.get("/stats", params={"group_by": "task_type", "limit": 50})
        assert answer.status_code == 200, answer.text
        groups = {group["value"]: group["completed"] for group in answer.json()["groups"]}
        if kind in groups or time.monotonic() > deadline:
            break
        time.sleep(0.1)

    assert list(answer.json()) == list(Statistics.model_fields)
    assert groups[kind] == 1
    line = client.get("/stats/timeline", params={"task_type": kind, "window": "1h"})
    assert list(line.json()) == list(Timeline.model_fields)
    assert sum(point["completed"] for point in line.json()["points"]) == 1


@pytest.mark.parametrize("path", ["/stats", "/stats/timeline"])
def test_a_query_that_cannot_be_told_names_its_faults(client: httpx2.Client, path: str) -> None:
    answer = client.get(path, params={"windw": "1h", "agent_id": "me", "window": "soon"})

    assert answer.status_code == 422
    assert set(faults_of(answer)) == {"?windw", "?agent_id", "?window"}
    swapped = client.get(path, params={"from": "2026-01-02", "to": "2026-01-01"})
    assert set(faults_of(swapped)) == {"?from"}


async def test_prometheus_is_told(open_app: OpenApp) -> None:
    async with open_app() as client:
        plan = (await client.post("/plans/", json={"status": "active"})).json()
        await client.post(
            "/tasks/", json={"plan_id": plan["id"], "description": "x", "task_type": "read"}
        )
        await client.post("/tasks/claim", json={"worker_id": "w1"})
        await client.get(f"/plans/{some_id()}")
        await client.request("BREW", "/nowhere")
        answer = await client.get("/metrics")

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert plan["id"] not in answer.text

    def requests(method: str, route: str, status: str) -> float:
        labels = {"method": method, "route": route, "status": status}
        return samples["planstore_http_requests_total", tuple(sorted(labels.items()))]

    assert requests("POST", "/plans", "2xx") == 1
    assert requests("GET", "/plans/{plan_id}", "4xx") == 1
    assert requests("(other)", "(none)", "4xx") == 1
    route = (("method", "POST"), ("route", "/tasks/claim"))
    assert samples["planstore_http_request_duration_seconds_count", route] == 1
    assert samples["planstore_tasks_claimed_total", ()] == 1
    assert samples["planstore_claim_searches_total", (("found", "yes"),)] == 1
    assert samples["planstore_leases", (("state", "running"),)] == 1
    assert samples["planstore_ready_tasks", ()] == 0
    assert samples["planstore_database_up", ()] == 1
    assert samples["planstore_database_connections_max", ()] == 16
    assert samples["planstore_statistics_lag_seconds", ()] > 0
    assert ("planstore_event_loop_lag_seconds_count", ()) in samples


async def test_metrics_ask_for_the_key_as_all_else_does(open_app: OpenApp) -> None:
    async with open_app(Admission(api_key="secret")) as client:
        assert (await client.get("/metrics")).status_code == 401
        bearer = {"Authorization": "Bearer secret"}
        assert (await client.get("/metrics", headers=bearer)).status_code == 200


async def test_openmetrics_is_told_to_who_asks_for_it(open_app: OpenApp) -> None:
    async with open_app() as client:
        asked = {"Accept": "application/openmetrics-text; version=1.0.0"}
        answer = await client.get("/metrics", headers=asked)
        strange = await client.get(
            "/metrics", headers={"Accept": "application/openmetrics-text; version=x"}
        )

    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
    assert strange.status_code == 200
