"""The OpenAPI document and the service agree: schemathesis tries one against the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi import checks

from planstore.app import create_app

if TYPE_CHECKING:
    import httpx2

    from tests.served import Served

DOCUMENT: Final[dict[str, Any]] = create_app(None).openapi()

config = schemathesis.Config()
# U+0000 is refused in every text, which JSON Schema can't say of free JSON.
config.projects.override.generation.update(allow_x00=False)

# Any: schemathesis leaves the parameters of its types open.
schema: Any = schemathesis.openapi.from_dict(DOCUMENT, config=config)

UNCERTAIN: Final[list[Any]] = [
    checks.positive_data_acceptance,  # pyright: ignore[reportUnknownMemberType] - as above
]


def test_the_document_is_served(client: httpx2.Client) -> None:
    assert client.get("/openapi.json").json() == DOCUMENT


@schema.parametrize()
@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
def test_every_operation_does_as_documented(case: Any, server: Served) -> None:
    response = case.call(base_url=server.url)

    # What fits the document may be at fault all the same: a key that was used before, names that
    # two tasks of a batch share; and beside POST a cursor that no list gave, a field that the
    # service keeps, a time before the year 2.
    may_be_refused = case.method != "POST" or any(
        each in response.text for each in ("idempotency_mismatch", "tasks share the")
    )
    case.validate_response(response, excluded_checks=UNCERTAIN if may_be_refused else [])
