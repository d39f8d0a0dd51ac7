"""What may be given for parameters, and schemas that would keep the service busy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from planstore.models import parameters
from planstore.models.parameters import MAX_SCHEMA, faults_in, given

if TYPE_CHECKING:
    from planstore.errors import Fault

SCHEMA: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "service": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 8},
        "env": {"enum": ["staging", "production"], "default": "staging"},
        "replicas": {"type": "integer", "minimum": 1, "default": 2},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/Tag"}, "uniqueItems": True},
        "limits": {
            "type": "object",
            "properties": {"cpu": {"type": "number", "default": 0.5}, "memory": {"type": "string"}},
            "additionalProperties": False,
            "default": {},
        },
    },
    "required": ["service"],
    "$defs": {"Tag": {"type": "string", "minLength": 2}},
}


def pointers(faults: list[Fault]) -> dict[str, str]:
    return {fault.pointer: fault.detail for fault in faults}


def test_defaults_are_filled_in_at_any_depth_and_nothing_else_changes() -> None:
    assert faults_in(SCHEMA) == []
    params = {"service": "shop", "tags": ["ab", "cd"], "limits": {"memory": "1G"}}

    whole, faults = given(SCHEMA, params)

    assert faults == []
    assert whole == {
        **params,
        "env": "staging",
        "replicas": 2,
        "limits": {"memory": "1G", "cpu": 0.5},
    }
    assert given(SCHEMA, {"service": "a"})[0]["limits"] == {"cpu": 0.5}
    assert params["limits"] == {"memory": "1G"}


def test_every_fault_of_the_parameters_is_named_with_what_is_allowed() -> None:
    params = {
        "servce": "shop",
        "env": "prod",
        "replicas": 0,
        "tags": ["a", "bc", "bc"],
        "limits": {"cpus": 1},
    }

    _, faults = given(SCHEMA, params)

    assert pointers(faults) == {
        "/servce": "it is unknown; did you mean 'service'?",
        "/service": "it is required, and isn't given",
        "/env": """it must be one of ["staging", "production"]; it is 'prod'""",
        "/replicas": "it must be at least 1; it is 0",
        "/tags": "its items must differ from each other; it is a list",
        "/tags/0": "it must have at least 2 characters; it is 'a'",
        "/limits/cpus": "it is unknown; did you mean 'cpu'?",
    }
    _, faults = given(SCHEMA, {"service": "Shop"})
    assert "must match" in pointers(faults)["/service"]


def test_a_schema_says_itself_what_else_may_be_given() -> None:
    schema = {"patternProperties": {"^x-": {"type": "integer"}}, "additionalProperties": False}

    assert given(schema, {"x-a": 1})[1] == []
    assert pointers(given(schema, {"x-a": "1", "y": 1})[1]).keys() == {"/x-a", "/y"}
    assert given({"additionalProperties": {"type": "integer"}}, {"any": 1})[1] == []


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        (1, 1.0, True),
        (1, True, False),
        ({"a": [1], "b": 2}, {"b": 2, "a": [1.0]}, True),
        ("1", 1, False),
    ],
)
def test_items_are_equal_as_json_schema_says(first: Any, second: Any, *, is_same: bool) -> None:
    schema = {"properties": {"a": {"uniqueItems": True}}}

    assert bool(given(schema, {"a": [first, second]})[1]) is is_same


@pytest.mark.parametrize(
    ("schema", "pointer", "detail"),
    [
        ({"type": "array"}, "/type", "must be 'object'"),
        ({"properties": []}, "/properties", "its type must be"),
        ({"properties": {"a": {"type": "strng"}}}, "/properties/a/type", "alternatives"),
        ({"properties": {"a": {"minLength": -1}}}, "/properties/a/minLength", "at least 0"),
        (
            {"properties": {"a": {"type": "integer", "default": "x"}}},
            "/properties/a/default",
            "its type must be",
        ),
        (
            {"properties": {"a": {"properties": {"b": {"maximum": 3, "default": 4}}}}},
            "/properties/a/properties/b/default",
            "at most 3",
        ),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "/$schema", "2020-12"),
        (
            {"properties": {"a": {"$schema": "http://json-schema.org/draft-07/schema#"}}},
            "/properties/a/$schema",
            "supported",
        ),
        (
            {"properties": {"a": {"$ref": "http://127.0.0.1:9/schema"}}},
            "/properties/a/$ref",
            "nothing is fetched",
        ),
        ({"$ref": "#/properties/a/default"}, "/$ref", "'#/$defs/…' only"),
        ({"$ref": "#/$defs/Tga", "$defs": {"Tag": {}}}, "/$ref", "did you mean 'Tag'?"),
        ({"properties": {"a": {"pattern": "(?=a)b"}}}, "/properties/a/pattern", "linear time"),
        ({"patternProperties": {"(": {}}}, "/patternProperties/(", "linear time"),
        ({"unevaluatedProperties": False}, "/unevaluatedProperties", "supported"),
        ({"dependentRequired": {"a": [1]}}, "/dependentRequired/a", "texts"),
        ({"description": "x" * MAX_SCHEMA}, "", "bytes"),
    ],
)
def test_what_is_no_schema_or_could_be_used_against_the_service_is_refused(
    schema: dict[str, Any], pointer: str, detail: str
) -> None:
    faults = pointers(faults_in(schema))

    assert detail in faults[pointer]


def test_parameters_may_be_called_like_keywords() -> None:
    names = ("$id", "$ref", "$schema", "pattern", "required", "type", "properties")
    schema = {"properties": {name: {"type": "string"} for name in names}}

    assert faults_in(schema) == []
    assert given(schema, dict.fromkeys(names, "a"))[1] == []


DOUBLING: Final[dict[str, Any]] = {
    "properties": {"a": {"$ref": "#/$defs/d0"}},
    "$defs": {
        **{f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)},
        "d40": {},
    },
}


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else 1


@pytest.mark.parametrize(
    ("schema", "value", "why"),
    [
        (DOUBLING, 1, "steps"),
        (
            {
                "properties": {"a": {"$ref": "#/$defs/t"}},
                "$defs": {"t": {"items": {"anyOf": [{"$ref": "#/$defs/t"}] * 2}, "type": "array"}},
            },
            nested(50),
            "steps",
        ),
        ({"$ref": "#"}, 1, "doesn't end"),
        ({"properties": {"a": {"multipleOf": 0.5}}}, 10**400, "too large"),
    ],
    ids=["doubling", "recursion", "a circle", "a large number"],
)
def test_a_check_that_would_take_for_ever_is_given_up(
    schema: dict[str, Any], value: Any, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parameters, "MAX_STEPS", 5_000)
    assert faults_in(schema) == []

    _, faults = given(schema, {"a": value})

    assert any(why in fault.detail for fault in faults)


def test_patterns_and_items_are_gone_through_once() -> None:
    schema = {"properties": {"a": {"pattern": "^(a+)+$"}, "b": {"uniqueItems": True}}}

    _, faults = given(schema, {"a": "a" * 50_000 + "b", "b": [{"n": n} for n in range(20_000)]})

    assert pointers(faults).keys() == {"/a"}
