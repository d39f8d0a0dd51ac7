"""The arguments of tools as JSON Schema, in as few words as say all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from pydantic import BaseModel

_NOISE: Final = frozenset(
    {"title", "default", "additionalProperties", "format", "discriminator"}
    | {"minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum", "pattern"}
    | {"description"}
)
"""What a model gets along without: what is wrong it is told when it happens."""


def input_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of a tool's arguments."""
    whole = model.model_json_schema()
    definitions = whole.get("$defs", {})
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            name: _brief(each, definitions, description=each.get("description"))
            for name, each in whole["properties"].items()
        },
        "additionalProperties": False,
    }
    if "required" in whole:
        schema["required"] = whole["required"]
    return schema


def _brief(
    schema: dict[str, Any], definitions: dict[str, Any], *, description: str | None = None
) -> dict[str, Any]:
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        given = [each for each in schema["anyOf"] if each.get("type") != "null"]
        schema = given[0] if len(given) == 1 else {"anyOf": given}
    # What is written by hand is short as it is.
    kept = {
        name: value
        for name, value in schema.items()
        if name not in _NOISE or "properties" in schema
    }
    items = cast("dict[str, Any] | None", kept.get("items"))
    if items is not None and "properties" not in items:
        kept["items"] = _brief(items, definitions)
    if description:
        kept["description"] = description
    return kept
