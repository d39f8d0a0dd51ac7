"""The OpenAPI document and the service agree: schemathesis tries one against the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi import checks

from planstore.app import create_app
from planstore.models.claim import MAX_WAIT
from tests.served import database_of, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2

    from tests.conftest import Postgres
    from tests.http.wire import Json
    from tests.served import Served

DOCUMENT: Final[dict[str, Any]] = create_app(None).openapi()

config = schemathesis.Config()
# U+0000 is refused in every text, which JSON Schema can't say of free JSON.
config.projects.override.generation.update(allow_x00=False)

# Any: schemathesis leaves the parameters of its types open.
schema: Any = schemathesis.openapi.from_dict(DOCUMENT, config=config)
# A stream doesn't end.
schema = schema.exclude(path_regex="/events/stream$")

UNCERTAIN: Final[list[Any]] = [
    checks.positive_data_acceptance,  # pyright: ignore[reportUnknownMemberType] - as above
]


def test_the_document_is_served(client: httpx2.Client) -> None:
    assert client.get("/openapi.json").json() == DOCUMENT


@pytest.fixture(scope="module")
def own_server(postgres: Postgres) -> Iterator[Served]:
    """A server of its own: what is claimed here is taken back while other tests look on."""
    with database_of(postgres) as url, serving(PLANSTORE_DATABASE_URL=url) as server:
        yield server
        assert "Traceback" not in server.log.read_text()


def _without_waiting(body: Any) -> None:
    """Have claims that would wait answer at once: there may never be what they ask for."""
    if isinstance(body, dict):
        asked = cast("Json", body)
        if _is_wait(asked.get("wait_seconds")):
            asked["wait_seconds"] = 0
        _without_waiting(asked.get("claim_next"))


def _is_wait(seconds: Any) -> bool:
    return type(seconds) in {int, float} and 0 < seconds <= MAX_WAIT


REFUSED: Final = (
    "idempotency_mismatch",
    "tasks share the",
    "is named",
    "leads nowhere",
    "the steps have",
    "the plan has no steps",
    "a time lies in the years",
    "isn't clear what is meant",
    "The cursor can't be used",
    "either `after` or `before`",
    "the template has",
    "the request has",
    "The condition can't be read",
    "Nothing can be sent there",
    "the file",
    "there is no JSON",
    "is not UTF-8",
)
"""What fits the document may be at fault all the same: a key that was used before, names that two
tasks of a batch share, a task that is named twice, dependencies and steps that name nothing, a time
before the year 2, an empty filter, a cursor that no answer gave, a task that is to be inserted
nowhere, a template whose plan is none, parameters that it doesn't take, a condition that is no
ETag, a host that is a private address or none, a file that is none of its format."""


@schema.parametrize()
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
def test_every_operation_does_as_documented(case: Any, own_server: Served) -> None:
    _without_waiting(case.body)

    response = case.call(base_url=own_server.url)

    # Beside POST also a cursor that no list gave, a field that the service keeps.
    may_be_refused = case.method != "POST" or any(each in response.text for each in REFUSED)
    case.validate_response(response, excluded_checks=UNCERTAIN if may_be_refused else [])
