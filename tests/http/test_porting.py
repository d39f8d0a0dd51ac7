"""Whole plans over the wire: files that come in, whatever they call themselves, and go out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from tests.http.wire import NOBODY, answered, faults_of, listed, problem_of

if TYPE_CHECKING:
    import httpx2

    from tests.http.conftest import OpenApp
    from tests.http.wire import Json, Ledger

CHECKLIST = "1. [x] boil water\n2. [ ] pour\n"


def fits(value: Any, schema: Json) -> bool:
    validator: Any = Draft202012Validator(schema)  # the package leaves parameters of its types open
    return validator.is_valid(value)


def imported(client: httpx2.Client) -> Json:
    response = client.post("/plans/import", params={"format": "markdown"}, content=CHECKLIST)
    return answered(response, 201)


@pytest.mark.parametrize(
    "content_type", ["text/markdown", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_a_file_is_imported_whatever_its_content_type(
    client: httpx2.Client, content_type: str
) -> None:
    answer = answered(
        client.post(
            "/plans/import?format=markdown&status=active",
            content=CHECKLIST,
            headers={"Content-Type": content_type},
        ),
        201,
    )

    assert (answer["tasks"], answer["dependencies"], answer["finished"]) == (2, 1, 1)
    plan = client.get(f"/plans/{answer['plan']['id']}").json()
    assert plan == answer["plan"]
    assert plan["status"] == "active"


def test_a_dry_run_answers_200_and_makes_nothing(client: httpx2.Client, ledger: Ledger) -> None:
    with ledger.unchanged():
        response = client.post("/plans/import?format=markdown&dry_run=true", content=CHECKLIST)

    assert answered(response) == {
        "dry_run": True,
        "plan": None,
        "tasks": 2,
        "dependencies": 1,
        "finished": 1,
    }


def test_a_faulty_file_is_refused_and_makes_nothing(client: httpx2.Client, ledger: Ledger) -> None:
    with ledger.unchanged():
        faulty = client.post("/plans/import?format=llm", content=b'{"tasks": [{"id": 1}, {}]}')
        broken = client.post("/plans/import?format=llm", content=b'{"tasks": [')
        unknown = client.post("/plans/import?format=lllm", content=CHECKLIST)
        without = client.post("/plans/import", content=CHECKLIST)

    assert faults_of(faulty).keys() == {
        "/tasks/0/description",
        "/tasks/1/id",
        "/tasks/1/description",
    }
    problem_of(broken, 400, "malformed_body")
    assert faults_of(unknown).keys() == {"?format"}
    assert faults_of(without).keys() == {"?format"}


def test_an_import_is_done_once_under_a_key(client: httpx2.Client) -> None:
    def send(content: str) -> httpx2.Response:
        headers = {"Idempotency-Key": "import-once"}
        return client.post("/plans/import?format=markdown", content=content, headers=headers)

    first = answered(send(CHECKLIST), 201)

    assert answered(send(CHECKLIST), 201) == first
    problem_of(send("- [ ] other"), 422, "idempotency_mismatch")


async def test_a_file_may_be_as_large_as_a_batch(open_app: OpenApp) -> None:
    async with open_app(max_body=1_000, max_batch_body=100_000) as client:
        large = await client.post("/plans/import?format=markdown", content="- [ ] a\n" * 1_000)
        too_large = await client.post("/plans/import?format=markdown", content="- [ ] a\n" * 13_000)

    assert answered(large, 201)["tasks"] == 1_000
    problem_of(too_large, 413, "body_too_large")


@pytest.mark.parametrize(
    ("kind", "media_type", "beginning"),
    [
        ("json", "application/json", '{"format":"planstore/1"'),
        ("markdown", "text/markdown; charset=utf-8", "# Plan "),
        ("mermaid", "text/vnd.mermaid; charset=utf-8", "flowchart TD\n"),
        ("dot", "text/vnd.graphviz; charset=utf-8", "digraph plan {\n"),
    ],
)
def test_a_plan_is_exported(
    client: httpx2.Client, kind: str, media_type: str, beginning: str
) -> None:
    plan = imported(client)["plan"]

    response = client.get(f"/plans/{plan['id']}/export", params={"format": kind})

    assert response.status_code == 200
    assert response.headers["Content-Type"] == media_type
    assert response.text.startswith(beginning)


def test_an_export_fits_its_schema_and_can_be_imported(client: httpx2.Client) -> None:
    plan = imported(client)["plan"]
    export = client.get(f"/plans/{plan['id']}/export").content

    schema = client.get("/schemas/planstore").json()

    Draft202012Validator.check_schema(schema)
    assert fits(json.loads(export), schema)
    copy = answered(client.post("/plans/import?format=planstore", content=export), 201)["plan"]
    assert client.get(f"/plans/{copy['id']}/export").content == export


def test_what_is_not_there_is_not_exported(client: httpx2.Client) -> None:
    problem_of(client.get(f"/plans/{NOBODY}/export"), 404, "not_found")


def test_every_schema_is_one_of_json_schema(client: httpx2.Client) -> None:
    names = [each["name"] for each in listed(client.get("/schemas/"))]

    assert "plan" in names
    for name in names:
        response = client.get(f"/schemas/{name}")
        assert response.headers["Content-Type"] == "application/schema+json"
        Draft202012Validator.check_schema(response.json())
    problem_of(client.get("/schemas/plam"), 404, "not_found")


def test_an_answer_that_fits_the_schema_for_language_models_is_imported(
    client: httpx2.Client,
) -> None:
    answer = {
        "tasks": [
            {"id": "a", "name": "A", "description": "do a", "type": "t", "inputs": {"b": 1}},
            {"id": 2, "name": "B", "dependencies": ["a"], "timeout_seconds": 5},
        ]
    }

    assert fits(answer, client.get("/schemas/plan").json())

    assert answered(client.post("/plans/import?format=llm", json=answer), 201)["tasks"] == 2
