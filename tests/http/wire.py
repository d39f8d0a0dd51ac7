"""What goes over the wire: requests that arrange a test, and answers read with suspicion."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import uuid4

import asyncpg

from planstore.errors import ERRORS_BY_CODE

if TYPE_CHECKING:
    from asyncio import Runner
    from collections.abc import Generator

    import httpx2

Json = dict[str, Any]

NOBODY: Final = "00000000-0000-4000-8000-000000000000"
"""The id of nothing."""


def problem_of(response: httpx2.Response, status: int, code: str) -> Json:
    """Assert that a response is this problem, whole and well-formed; return it."""
    assert response.headers["Content-Type"] == "application/problem+json", response.text
    problem = response.json()
    assert (response.status_code, problem["code"]) == (status, code), response.text
    # Where the service is at fault, its log says more of the request.
    logged = ["request_id"] if status >= 500 and "X-Request-ID" in response.headers else []
    assert list(problem) == ["type", "title", "status", "code", "detail", "errors", *logged]
    assert problem["type"] == "about:blank"
    assert problem["status"] == status
    assert problem["title"] == ERRORS_BY_CODE[code].title
    assert problem["detail"]
    for fault in problem["errors"]:
        assert list(fault) == ["pointer", "detail"]
        assert fault["detail"]
    return problem


def faults_of(response: httpx2.Response) -> dict[str, str]:
    """Assert that the input is refused; return every fault by its pointer."""
    problem = problem_of(response, 422, "invalid_input")
    faults = {fault["pointer"]: fault["detail"] for fault in problem["errors"]}
    assert len(faults) == len(problem["errors"])
    return faults


def done(response: httpx2.Response, status: int = 200) -> Json:
    """Assert that a request was done; return the object that it answers."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/json"
    answer = cast("Json", response.json())
    assert response.headers["ETag"] == f'"{answer["version"]}"'
    return answer


def listed(response: httpx2.Response) -> list[Json]:
    """Assert that a list is answered; return it."""
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "application/json"
    answer = response.json()
    assert isinstance(answer, list)
    return cast("list[Json]", answer)


def new_plan(client: httpx2.Client, **fields: Any) -> Json:
    return done(client.post("/plans/", json=fields), 201)


def new_task(client: httpx2.Client, plan: Json, **fields: Any) -> Json:
    content = {"plan_id": plan["id"], "description": "do it", **fields}
    return done(client.post("/tasks/", json=content), 201)


def answered(response: httpx2.Response, status: int = 200) -> Json:
    """Assert that an object is answered which has no version of its own; return it."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/json"
    assert "ETag" not in response.headers
    return cast("Json", response.json())


def claimed(client: httpx2.Client, plan: Json, **fields: Any) -> list[Json]:
    """Claim tasks of a plan, for longer than any test lasts; return their packets."""
    claim = {"worker_id": "w1", "plan_id": plan["id"], "lease_seconds": 3_600, **fields}
    return cast("list[Json]", answered(client.post("/tasks/claim", json=claim))["tasks"])


def only(items: list[Json]) -> Json:
    (item,) = items
    return item


def as_bytes(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers whose values may lie beyond ASCII, as they go over the wire."""
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


def some_id() -> str:
    return str(uuid4())


_SNAPSHOT: Final = """
select
  (select count(*) from planstore.events) as events,
  (select count(*) from planstore.idempotency_keys) as keys,
  -- How often what follows was worked out anew is no fact about a plan.
  (select md5(string_agg((to_jsonb(p) - 'derivations')::text, '' order by id))
    from planstore.plans p) as plans,
  (select md5(string_agg(t::text, '' order by id)) from planstore.tasks t) as tasks,
  (select md5(string_agg(s::text, '' order by task_id)) from planstore.task_states s) as states,
  (select md5(string_agg(d::text, '' order by task_id, needs_id)) from planstore.dependencies d)
    as dependencies,
  (select md5(string_agg(t::text, '' order by name)) from planstore.templates t) as templates,
  (select count(*) from planstore.template_versions) as versions,
  (select md5(string_agg(a::text, '' order by task_id, attempt)) from planstore.attempts a)
    as attempts
"""


class Ledger:
    """A look into the database behind a server."""

    def __init__(self, runner: Runner, url: str) -> None:
        self._runner = runner
        self._conn = runner.run(asyncpg.connect(url))

    def close(self) -> None:
        self._runner.run(self._conn.close())

    def ask(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        return self._runner.run(self._conn.fetch(statement, *arguments))

    def events(self, subject: Json) -> list[str]:
        """The types of the events of a plan or task, in order."""
        rows = self.ask(
            "select event_type from planstore.events where aggregate_id = $1 order by seq",
            subject["id"],
        )
        return [row["event_type"] for row in rows]

    @contextmanager
    def unchanged(self) -> Generator[None]:
        """Assert that what is within leaves every row as it was, and writes no event."""
        before = self.ask(_SNAPSHOT)
        yield
        assert self.ask(_SNAPSHOT) == before
