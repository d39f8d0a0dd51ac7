"""Templates over the wire: paths, conditions, repetition, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest

from tests.http.wire import NOBODY, done, faults_of, listed, new_plan, new_task, problem_of

if TYPE_CHECKING:
    import httpx2

    from tests.http.wire import Json, Ledger

PARAMETERS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"service": {"type": "string"}, "priority": {"type": "integer", "default": 5}},
    "required": ["service"],
}
PLAN: Final[dict[str, Any]] = {
    "tasks": [{"description": "Deploy {{params.service}}", "priority": "{{params.priority}}"}]
}


def new_template(client: httpx2.Client, **fields: Any) -> Json:
    content = {"name": f"t-{uuid4()}", "parameters": PARAMETERS, "plan": PLAN, **fields}
    return done(client.post("/templates/", json=content), 201)


def test_a_template_is_made_read_and_listed(client: httpx2.Client) -> None:
    template = new_template(client, description="Deploys")
    path = f"/templates/{template['name']}"

    assert done(client.get(path)) == template
    assert done(client.get(f"{path}/")) == template
    assert done(client.get(f"{path}/versions/1")) == template
    summary = {name: value for name, value in template.items() if name not in {"plan", "record"}}
    assert listed(client.get(f"{path}/versions")) == [summary]
    assert summary in listed(client.get("/templates?limit=1000"))
    assert list(template) == [
        *("name", "version", "description", "parameters", "created_at", "archived_at"),
        *("plan", "record"),
    ]


def test_a_list_goes_on_behind_its_link(client: httpx2.Client) -> None:
    names = sorted(new_template(client)["name"] for _ in range(3))
    found: list[str] = []
    url: Any = "/templates/?limit=2"
    while url:
        page = client.get(url)
        found += [each["name"] for each in listed(page)]
        url = page.links.get("next", {}).get("url")
    assert [name for name in found if name in names] == names
    assert len(found) == len(set(found))


def test_a_version_is_made_on_condition_that_it_follows_the_known_one(
    client: httpx2.Client, ledger: Ledger
) -> None:
    path = f"/templates/{new_template(client)['name']}"

    second = done(
        client.post(f"{path}/versions", json={"description": "new"}, headers={"If-Match": '"1"'}),
        201,
    )

    assert (second["version"], second["plan"]) == (2, PLAN)
    with ledger.unchanged():
        response = client.post(f"{path}/versions", json={}, headers={"If-Match": '"1"'})
    assert "is at version 2" in problem_of(response, 412, "version_mismatch")["detail"]


def test_a_plan_is_made_once_for_each_key(client: httpx2.Client) -> None:
    template = new_template(client)
    path = f"/templates/{template['name']}/instantiate"
    content = {"params": {"service": "shop"}, "labels": ["a"]}

    plan = done(client.post(path, json=content, headers={"Idempotency-Key": "k"}), 201)

    assert done(client.post(path, json=content, headers={"Idempotency-Key": "k"}), 201) == plan
    assert done(client.get(f"/plans/{plan['id']}")) == plan
    assert (plan["template"], plan["template_version"]) == (template["name"], 1)
    assert plan["labels"] == ["a"]
    (task,) = listed(client.get(f"/tasks/?plan_id={plan['id']}"))
    assert (task["description"], task["priority"]) == ("Deploy shop", 5)
    assert listed(client.get(f"/plans/?template={template['name']}")) == [plan]
    other = done(client.post(path, json=content, headers={"Idempotency-Key": "l"}), 201)
    assert other["id"] != plan["id"]
    response = client.post(path, json={**content, "labels": []}, headers={"Idempotency-Key": "k"})
    problem_of(response, 422, "idempotency_mismatch")


def test_a_plan_that_is_made_may_bring_its_own_id_and_be_sent_back(client: httpx2.Client) -> None:
    template = new_template(client, parameters={}, plan={})
    plan_id = str(uuid4())
    path = f"/templates/{template['name']}/instantiate"

    plan = done(client.post(path, json={"id": plan_id}), 201)

    assert plan["id"] == plan_id
    assert done(client.patch(f"/plans/{plan_id}", json=plan)) == plan
    assert faults_of(client.patch(f"/plans/{plan_id}", json={"template_version": 2})).keys() == {
        "/template_version"
    }
    problem_of(client.post(path, json={"id": plan_id}), 409, "already_exists")
    assert client.post(path).status_code == 201  # without any body


def test_an_archived_template_makes_no_plan(client: httpx2.Client, ledger: Ledger) -> None:
    path = f"/templates/{new_template(client)['name']}"
    assert done(client.post(f"{path}/archive"))["archived_at"] is not None

    with ledger.unchanged():
        for verb in ("instantiate", "versions"):
            problem_of(client.post(f"{path}/{verb}", json={}), 409, "template_archived")

    assert done(client.post(f"{path}/restore"))["archived_at"] is None


def test_all_faults_of_a_template_come_at_once(client: httpx2.Client, ledger: Ledger) -> None:
    content = {
        "name": "faulty",
        "parameters": {"properties": {"a": {"type": "nothing"}, "b": {"$ref": "http://x/"}}},
        "plan": {"plan_typ": "dag", "tasks": [{"description": "x", "priority": 500}]},
    }

    with ledger.unchanged():
        assert faults_of(client.post("/templates/", json=content)).keys() == {
            "/parameters/properties/b/$ref",
            "/plan/plan_typ",
            "/plan/tasks/0/priority",
        }
        assert faults_of(client.post("/templates/", json={"name": "a b", "plans": {}})).keys() == {
            *("/name", "/plan", "/plans")
        }


@pytest.mark.parametrize(
    ("method", "path", "pointer"),
    [
        ("GET", "/templates/?archivd=true", "?archivd"),
        ("GET", "/templates/?cursor=x", "?cursor"),
        ("GET", "/templates/a/versions/0", "{version}"),
        ("GET", "/templates/a/versions/x", "{version}"),
        ("GET", "/templates/a?at=2026-01-01", "?at"),
    ],
)
def test_queries_and_numbers_are_read_with_suspicion(
    client: httpx2.Client, method: str, path: str, pointer: str
) -> None:
    assert faults_of(client.request(method, path)).keys() == {pointer}


@pytest.mark.parametrize("name", ["nobody", "%00", "%F0%9F%98%80", "a%20b", "x" * 300])
def test_a_name_that_is_nobodys_is_not_found(
    client: httpx2.Client, ledger: Ledger, name: str
) -> None:
    with ledger.unchanged():
        for method, path in (
            ("GET", ""),
            ("GET", "/versions"),
            ("GET", "/versions/1"),
            ("POST", "/versions"),
            ("POST", "/archive"),
            ("POST", "/instantiate"),
        ):
            response = client.request(method, f"/templates/{name}{path}", content=b"{}")
            problem_of(response, 404, "not_found")


def test_a_plan_is_saved_as_a_template(client: httpx2.Client, ledger: Ledger) -> None:
    plan = new_plan(client, labels=["nightly"])
    new_task(client, plan, name="first", priority=7)
    name = f"saved-{uuid4()}"
    path = f"/plans/{plan['id']}/save-as-template"

    saved = done(client.post(path, json={"name": name}), 201)

    assert saved["plan"] == {
        "labels": ["nightly"],
        "tasks": [{"name": "first", "description": "do it", "priority": 7, "sequence_order": 1}],
    }
    with ledger.unchanged():
        problem_of(client.post(path, json={"name": name}), 409, "already_exists")
        response = client.post(f"/plans/{NOBODY}/save-as-template", json={"name": "new"})
        problem_of(response, 404, "not_found")
