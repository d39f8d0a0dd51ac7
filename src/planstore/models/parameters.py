"""The parameters of a template: what may be given for them, as JSON Schema (2020-12) says it.

A schema comes from a client, and so does what it is to check; neither may keep the service busy or
have it ask others. So a schema is small, refers to nothing but itself, patterns are tried in linear
time, and a check that takes too many steps is given up.
"""

from __future__ import annotations

import json
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError
from pydantic_core import SchemaError, SchemaValidator, core_schema, to_json
from referencing import Registry

from planstore.errors import Fault
from planstore.models.faults import REQUIRED, unknown_name
from planstore.models.fields import MAX_FAULTS, pointer_part, shortened, shown
from planstore.models.graph import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    # Any: jsonschema leaves its types open, and free JSON has none.
    Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]

Schema = dict[str, Any]

MAX_SCHEMA: Final = 64 * 1024
"""Bytes of a schema."""

MAX_STEPS: Final = 100_000
"""How many keywords are applied, or members looked at, by one check: about a second."""

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_UNSUPPORTED: Final = "it isn't supported here"
_DEFINITIONS: Final = ("$defs", "definitions")
_OTHERS: Final = ("additionalProperties", "patternProperties")
"""By these a schema says itself what else may be given."""
_ASKED: Final = 300
"""How many characters of what a keyword asks for are shown."""


_extend: Any = vars(validators)["extend"]  # jsonschema has no types
_NOTHING_ELSE: Any = Registry[Any]()
"""What is known beside a schema: without it, jsonschema would fetch what is referred to."""


class _TooLong(Exception):
    """A check takes too many steps."""


def faults_in(schema: Schema) -> list[Fault]:
    """Return what is wrong with a schema of parameters, its defaults included."""
    size = len(to_json(schema))
    if size > MAX_SCHEMA:
        return [Fault("", f"it has {size} bytes; at most {MAX_SCHEMA} are allowed")]
    if faults := [*islice(_refused(schema), MAX_FAULTS)]:
        return faults
    dialect = Draft202012Validator(Draft202012Validator.META_SCHEMA, registry=_NOTHING_ELSE)
    if faults := [*_checked(dialect, schema)]:
        return faults
    if schema.get("type", "object") != "object":
        return [Fault("/type", f"it must be 'object'; it is {shown(schema['type'])}")]
    return [*islice(_wrong_defaults(schema), MAX_FAULTS)]


def given(schema: Schema, params: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """Return the parameters with their defaults, and what is wrong with them.

    Pointers lead into the parameters.
    """
    unknown = [
        Fault(f"/{pointer_part(name)}", unknown_name(name, names_in(schema)))
        for name in islice(params, MAX_FAULTS)
        if name not in names_in(schema) and schema.keys().isdisjoint(_OTHERS)
    ]
    whole = _with_defaults(schema, params)
    faults = [*unknown, *_checked(_validator(schema), whole)]
    return whole, faults[:MAX_FAULTS]


def names_in(schema: Schema) -> Mapping[str, Any]:
    """Return the parameters that a schema names, each with what is asked of it."""
    return schema.get("properties", {})


def _with_defaults(schema: Any, value: Any) -> Any:
    """Fill in the defaults of ``properties`` that aren't given, in whatever depth."""
    if not isinstance(schema, dict) or not isinstance(value, dict):
        return value
    whole = {**cast("dict[str, Any]", value)}
    for name, member in cast("dict[str, Any]", names_in(cast("Schema", schema))).items():
        if name not in whole and isinstance(member, dict) and "default" in member:
            whole[name] = member["default"]
        if name in whole:
            whole[name] = _with_defaults(member, whole[name])
    return whole


def _refused(schema: Schema) -> Iterator[Fault]:
    """Yield what is refused in a schema though JSON Schema allows it."""
    dialect = schema.get("$schema", _DIALECT)
    if not isinstance(dialect, str) or dialect.removesuffix("#") != _DIALECT:
        yield Fault("/$schema", f"it must be {_DIALECT}; it is {shown(dialect)}")
    waiting: list[tuple[str, Any]] = [("", _root(schema))]
    while waiting:
        at, value = waiting.pop()
        if isinstance(value, list):
            members = [*enumerate(cast("list[Any]", value))]
        elif isinstance(value, dict):
            members = [*cast("dict[str, Any]", value).items()]
        else:
            continue
        for key, member in members:
            pointer = f"{at}/{pointer_part(key)}"
            for inner, why in _refusals(schema, key, member).items():
                if why is not None:
                    yield Fault(pointer + inner, why)
            waiting.append((pointer, member))


def _refusals(schema: Schema, key: object, member: Any) -> Mapping[str, str | None]:
    """Return why a member of a schema is refused, for each place in it; None where it isn't.

    A parameter may be called like a keyword; then what it is called by is another kind of value.
    """
    why: dict[str, str | None] = {}
    match key, member:
        case (("unevaluatedItems" | "unevaluatedProperties"), _):
            why = {"": _UNSUPPORTED}  # it would look at the same members over and over
        case (("$anchor" | "$dynamicAnchor" | "$dynamicRef" | "$id" | "$schema"), str()):
            why = {"": _UNSUPPORTED}  # a part of the schema would mean another, or be of another
        case "$ref", str():
            why = {"": _astray(schema, member)}
        case (("required" | "type"), list()):
            why = {"": _not_texts(cast("list[Any]", member))}
        case "dependentRequired", dict():
            lists = cast("dict[str, Any]", member)
            why = {f"/{pointer_part(name)}": _not_texts(each) for name, each in lists.items()}
        case "pattern", str():
            why = {"": _unusable(member)}
        case "patternProperties", dict():
            patterns = cast("dict[str, Any]", member)
            why = {f"/{pointer_part(each)}": _unusable(each) for each in patterns}
        case _:
            pass
    return why


def _not_texts(value: Any) -> str | None:
    # That they differ is what JSON Schema asks for: of texts, this is found in no time.
    is_so = isinstance(value, list) and all(isinstance(each, str) for each in cast("Any", value))
    return None if is_so else "it must be a list of texts"


def _root(schema: Schema) -> Schema:
    """A schema without what it may say of itself at its top."""
    return {key: value for key, value in schema.items() if key not in {"$schema", "$id"}}


def _astray(schema: Schema, reference: str) -> str | None:
    """Why a reference can't be followed; None where it can."""
    if reference == "#":
        return None
    for group in _DEFINITIONS:
        start, _, name = unquote(reference).partition(f"#/{group}/")
        if name and not start and "/" not in name:
            held: Any = schema.get(group)
            known = cast("dict[str, Any]", held) if isinstance(held, dict) else {}
            name = name.replace("~1", "/").replace("~0", "~")
            if name in known:
                return None
            near = nearest(name, known)
            hint = f"; did you mean {shortened(near)!r}?" if near else ""
            return f"there is no {shortened(name)!r} in {group}{hint}"
    return f"it can lead to '#' and '#/$defs/…' only, nothing is fetched; it is {shown(reference)}"


@lru_cache(maxsize=1_000)
def _pattern(text: str) -> SchemaValidator:
    # An engine that takes linear time, whatever the pattern and the text.
    return SchemaValidator(core_schema.str_schema(pattern=text, regex_engine="rust-regex"))


def _unusable(pattern: str) -> str | None:
    try:
        _pattern(pattern)
    except SchemaError:
        return (
            "it isn't a pattern that can be tried in linear time (no lookaround, no references "
            f"back); it is {shown(pattern)}"
        )
    return None


def _wrong_defaults(schema: Schema) -> Iterator[Fault]:
    validator = _validator(schema)
    waiting = [("", schema)]
    while waiting:
        at, each = waiting.pop()
        for name, member in names_in(each).items():
            if isinstance(member, bool):
                continue
            pointer = f"{at}/properties/{pointer_part(name)}"
            waiting.append((pointer, member))
            if "default" in member:
                default = _with_defaults(member, member["default"])
                part = validator.evolve(schema=member)
                for fault in _checked(part, default):
                    yield Fault(f"{pointer}/default{fault.pointer}", fault.detail)


def _checked(validator: Any, value: Any) -> Iterator[Fault]:
    """Yield where a value doesn't fit."""
    try:
        for error in islice(validator.iter_errors(value), MAX_FAULTS):
            path = cast("list[object]", [*error.absolute_path])
            yield Fault("".join(f"/{pointer_part(part)}" for part in path), _detail(error))
    except _TooLong:
        yield Fault("", f"checking it takes more than {MAX_STEPS} steps: its schema is too wide")
    except RecursionError:
        yield Fault("", "checking it doesn't end: it, or its schema, is nested too deep")
    except OverflowError:  # a whole number that no float can hold
        yield Fault("", "checking it takes numbers that are too large")


_SENTENCES: Final = {
    "type": "its type must be {}",
    "enum": "it must be one of {}",
    "const": "it must be {}",
    "minimum": "it must be at least {}",
    "maximum": "it must be at most {}",
    "exclusiveMinimum": "it must be greater than {}",
    "exclusiveMaximum": "it must be less than {}",
    "multipleOf": "it must be a multiple of {}",
    "minLength": "it must have at least {} characters",
    "maxLength": "it must have at most {} characters",
    "minItems": "it must have at least {} items",
    "maxItems": "it must have at most {} items",
    "minProperties": "it must have at least {} members",
    "maxProperties": "it must have at most {} members",
    "pattern": "it must match {}",
    "uniqueItems": "its items must differ from each other",
    "anyOf": "it must fit one of the alternatives",
    "oneOf": "it must fit one of the alternatives, and no other",
    None: "it isn't allowed",
}
"""What a keyword asks for, with its value."""


def _detail(error: Any) -> str:
    if error.validator in _SAID:
        return cast("str", error.message)
    asked = json.dumps(error.validator_value, ensure_ascii=False)
    if len(asked) > _ASKED:
        asked = f"{asked[:_ASKED]}…"
    sentence = _SENTENCES.get(error.validator, f"it must fit {error.validator!r} of its schema")
    return f"{sentence.format(asked)}; it is {shown(error.instance)}"


def _validator(schema: Schema) -> Any:
    """Return what checks values by a schema, and gives up after so many steps."""
    left = MAX_STEPS

    def metered(keyword: Keyword) -> Keyword:
        def check(validator: Any, asked: Any, value: Any, within: Any) -> Any:
            nonlocal left
            left -= 1 + _size(asked) + _size(value)
            if left < 0:
                raise _TooLong
            return keyword(validator, asked, value, within)

        return check

    keywords: dict[str, Any] = {**Draft202012Validator.VALIDATORS, **_KEYWORDS}
    metered_keywords = {name: metered(each) for name, each in keywords.items()}
    return _extend(Draft202012Validator, metered_keywords)(_root(schema), registry=_NOTHING_ELSE)


def _size(value: Any) -> int:
    if isinstance(value, (dict, list)):
        return len(cast("list[Any]", value))
    return len(value) // 1_000 if isinstance(value, str) else 0


def _required(_: Any, asked: Any, value: Any, __: Any) -> Iterator[ValidationError]:
    for name in asked if isinstance(value, dict) else ():
        if name not in value:
            yield ValidationError(REQUIRED, path=[name])


def _matching(_: Any, asked: Any, value: Any, __: Any) -> Iterator[ValidationError]:
    if isinstance(value, str) and not _pattern(asked).isinstance_python(value):
        yield ValidationError("it doesn't match")


def _by_pattern(validator: Any, asked: Any, value: Any, _: Any) -> Iterator[ValidationError]:
    for pattern, member in asked.items() if isinstance(value, dict) else ():
        for name in cast("dict[str, Any]", value):
            if _pattern(pattern).isinstance_python(name):
                yield from validator.descend(value[name], member, path=name, schema_path=pattern)


def _additional(validator: Any, asked: Any, value: Any, within: Any) -> Iterator[ValidationError]:
    if not isinstance(value, dict):
        return
    known = names_in(within)
    patterns = [_pattern(each) for each in within.get("patternProperties", ())]
    for name, member in cast("dict[str, Any]", value).items():
        if name in known or any(each.isinstance_python(name) for each in patterns):
            continue
        if asked is False:
            yield ValidationError(unknown_name(name, known), path=[name])
        else:
            yield from validator.descend(member, asked, path=name)


def _apart(_: Any, asked: Any, value: Any, __: Any) -> Iterator[ValidationError]:
    if asked and isinstance(value, list):
        items = cast("list[Any]", value)
        if len({json.dumps(_canonical(each), sort_keys=True) for each in items}) < len(items):
            yield ValidationError("its items aren't unique")


def _canonical(value: Any) -> Any:
    """Values that JSON Schema calls equal are written the same: 1 and 1.0 are one number."""
    if isinstance(value, dict):
        return {name: _canonical(member) for name, member in cast("Schema", value).items()}
    if isinstance(value, list):
        return [_canonical(member) for member in cast("list[Any]", value)]
    return int(value) if isinstance(value, float) and value.is_integer() else value


_KEYWORDS: Final[Mapping[str, Keyword]] = {
    "required": _required,
    "pattern": _matching,
    "patternProperties": _by_pattern,
    "additionalProperties": _additional,
    "uniqueItems": _apart,
}
"""What jsonschema does by a regular expression, in quadratic time, or in fewer words."""

_SAID: Final = frozenset({"required", "additionalProperties"})
"""What is said where it is found."""
