"""ETags: who has seen an object needn't fetch it again, and doesn't overwrite what they haven't."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.http.wire import done, faults_of, new_plan, new_task, problem_of

if TYPE_CHECKING:
    import httpx2

    from tests.http.wire import Json, Ledger


@pytest.fixture(params=["plan", "task"])
def item(request: pytest.FixtureRequest, client: httpx2.Client) -> tuple[str, Json]:
    """The path of a plan or task, and the object."""
    plan = new_plan(client)
    if request.param == "plan":
        return f"/plans/{plan['id']}", plan
    task = new_task(client, plan)
    return f"/tasks/{task['id']}", task


def _change(item: Json, number: int) -> Json:
    return {"description" if "description" in item else "plan_type": f"change {number}"}


def test_the_etag_is_the_version_and_grows_with_each_change(
    client: httpx2.Client, item: tuple[str, Json]
) -> None:
    path, content = item
    assert client.get(path).headers["ETag"] == '"1"'

    for version in (2, 3):
        response = client.patch(path, json=_change(content, version))
        assert response.headers["ETag"] == client.get(path).headers["ETag"] == f'"{version}"'

    again = client.patch(path, json=_change(content, 3))
    assert again.headers["ETag"] == '"3"'


@pytest.mark.parametrize("known", ['"1"', 'W/"1"', '"7", "1"', "*", '"1","2"'])
def test_what_is_known_is_not_sent_again(
    client: httpx2.Client, item: tuple[str, Json], known: str
) -> None:
    path, content = item

    response = client.get(path, headers={"If-None-Match": known})

    assert (response.status_code, response.content) == (304, b"")
    assert response.headers["ETag"] == '"1"'
    done(client.patch(path, json=_change(content, 1)))
    if known in {'"1"', 'W/"1"'}:
        changed = done(client.get(path, headers={"If-None-Match": known}))
        assert changed["version"] == 2


@pytest.mark.parametrize("known", ['"2"', "", "1", '"x"'])
def test_what_is_not_known_is_sent(
    client: httpx2.Client, item: tuple[str, Json], known: str
) -> None:
    path, content = item

    assert done(client.get(path, headers={"If-None-Match": known})) == content


@pytest.mark.parametrize("expected", ['"1"', 'W/"1"', "*"])
def test_a_change_of_the_version_that_is_expected_is_made(
    client: httpx2.Client, item: tuple[str, Json], expected: str
) -> None:
    path, content = item

    changed = done(client.patch(path, json=_change(content, 1), headers={"If-Match": expected}))

    assert changed["version"] == 2


@pytest.mark.parametrize("expected", ['"1"', '"3"', '"0"', '"x"', '""', '"9"', f'"{"9" * 30}"'])
def test_a_change_of_another_version_is_refused(
    client: httpx2.Client, ledger: Ledger, item: tuple[str, Json], expected: str
) -> None:
    path, content = item
    done(client.patch(path, json=_change(content, 1)))

    with ledger.unchanged():
        for change in (_change(content, 2), {"metadata": {"a": 1}}, {}):
            response = client.patch(path, json=change, headers={"If-Match": expected})
            problem = problem_of(response, 412, "version_mismatch")
            assert "version 2" in problem["detail"]


@pytest.mark.parametrize("expected", ["1", "", '"1', '"1", "2"'])
def test_a_condition_that_is_not_one_etag_is_refused(
    client: httpx2.Client, ledger: Ledger, item: tuple[str, Json], expected: str
) -> None:
    path, content = item

    with ledger.unchanged():
        response = client.patch(path, json=_change(content, 1), headers={"If-Match": expected})

    (fault,) = problem_of(response, 422, "invalid_input")["errors"]
    assert fault["pointer"] == "If-Match"


def test_of_many_who_change_the_version_they_saw_one_wins(
    client: httpx2.Client, ledger: Ledger, item: tuple[str, Json]
) -> None:
    path, content = item

    def change(number: int) -> int:
        headers = {"If-Match": '"1"'}
        return client.patch(path, json=_change(content, number), headers=headers).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(change, range(8)))

    assert statuses == [200, *[412] * 7]
    assert done(client.get(path))["version"] == 2
    assert len(ledger.events(content)) == 2


def test_a_condition_on_what_is_not_there_is_not_found(client: httpx2.Client) -> None:
    path = "/plans/770e8400-e29b-41d4-a716-446655440002"

    response = client.patch(path, json={}, headers={"If-Match": '"1"'})

    problem_of(response, 404, "not_found")


def test_what_is_known_is_not_sent_to_whoever_asks_under_another_spelling(
    client: httpx2.Client, item: tuple[str, Json]
) -> None:
    path, _ = item

    for method in ("GET", "HEAD"):
        response = client.request(method, f"{path}/", headers={"If-None-Match": '"1"'})
        assert (response.status_code, response.headers["ETag"]) == (304, '"1"')


@pytest.mark.parametrize("name", ["If-Match", "Idempotency-Key"])
@pytest.mark.parametrize("second", ['"1"', '"2"'])
def test_a_header_that_is_given_twice_is_refused_by_its_name(
    client: httpx2.Client, ledger: Ledger, item: tuple[str, Json], name: str, second: str
) -> None:
    path, content = item
    headers = [(name, '"1"'), (name.lower(), second)]

    with ledger.unchanged():
        response = client.patch(path, json=_change(content, 1), headers=headers)

    assert faults_of(response).keys() == {name}


@pytest.mark.parametrize("path", ["/plans/", "/tasks/", "/tasks/batch"])
def test_a_key_that_is_given_twice_makes_nothing(
    client: httpx2.Client, ledger: Ledger, path: str
) -> None:
    draft = {"description": "do it"}
    plan_id = new_plan(client)["id"]
    content: dict[str, Json] = {
        "/plans/": {},
        "/tasks/": {"plan_id": plan_id, **draft},
        "/tasks/batch": {"plan_id": plan_id, "tasks": [draft]},
    }

    with ledger.unchanged():
        headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
        response = client.post(path, json=content[path], headers=headers)
        assert faults_of(response).keys() == {"Idempotency-Key"}
