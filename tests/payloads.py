"""Whether events hold what their JSON Schemas say."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING

import jsonschema_rs

from planstore.models.schemas import schema_of

if TYPE_CHECKING:
    from planstore.sql.connection import Connection


@cache
def _validator(name: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(schema_of(name), validate_formats=True)


def assert_payload_fits(event_type: str, payload: object) -> None:
    """Assert that an event of this type may hold that."""
    faults = [
        f"{fault.instance_path}: {fault.message}"
        for fault in _validator(event_type).iter_errors(payload)
    ]
    assert not faults, (event_type, payload, faults)


async def assert_payloads_fit(conn: Connection) -> None:
    """Assert that every event of a database holds what its schema says.

    What tests write there by themselves tells of no revision, and is passed over.
    """
    for event_type, payload in await conn.fetch(
        "select distinct event_type, payload::text from planstore.events"
        " where metadata -> 'revision' is not null"
    ):
        assert_payload_fits(event_type, json.loads(payload))
