"""JSON Schemas are served, and are what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jsonschema

from planstore.models.payload import PAYLOADS
from tests.http.wire import done, listed, new_plan, problem_of

if TYPE_CHECKING:
    import httpx2

    from tests.http.wire import Json


def schema_at(client: httpx2.Client, path: str) -> Json:
    response = client.get(path)
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "application/schema+json"
    return response.json()


def test_every_schema_is_listed_and_stands_where_its_id_says(client: httpx2.Client) -> None:
    entries = listed(client.get("/schemas/"))

    assert {entry["name"] for entry in entries} >= {"event", *PAYLOADS}
    for entry in entries:
        schema = schema_at(client, entry["url"])
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        assert (schema["$id"], schema["title"]) == (entry["url"], entry["name"])
        assert schema["description"] == entry["description"] != ""
        jsonschema.Draft202012Validator.check_schema(schema)


def test_what_is_told_fits_the_schemas(client: httpx2.Client) -> None:
    plan = new_plan(client, status="active", tasks=[{"name": "a", "description": "boil"}])
    done(client.post(f"/plans/{plan['id']}/cancel"))

    events = listed(client.get("/events/", params={"plan_id": plan["id"]}))

    assert len(events) == 5
    whole = schema_at(client, "/schemas/event")
    for event in events:
        jsonschema.validate(event, whole)
        of_payload = schema_at(client, f"/schemas/{event['event_type']}")
        jsonschema.validate(event["payload"], of_payload)


def test_an_unknown_schema_is_answered_with_the_nearest_one(client: httpx2.Client) -> None:
    problem = problem_of(client.get("/schemas/task.complete"), 404, "not_found")

    assert "did you mean task.completed?" in problem["detail"]
