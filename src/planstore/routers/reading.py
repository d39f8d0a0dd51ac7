"""Reading requests: bodies, queries, ids and conditions, with every fault named at once."""

from __future__ import annotations

import re
from collections import Counter
from itertools import chain, islice
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar, cast, get_args, get_origin
from urllib.parse import parse_qsl
from uuid import UUID

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import from_json

from planstore.errors import BodyTooLarge, Fault, InvalidInput, MalformedBody
from planstore.models.faults import refusal, unfit, unknown_name
from planstore.models.fields import (
    MAX_FAULTS,
    NO_VERSION,
    Record,
    json_faults,
    pointer_part,
    shown,
)
from planstore.models.idempotency import Idempotency
from planstore.models.revision import RevisionNumber
from planstore.routers.context import context_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request

    from planstore.models.fields import Limits

M = TypeVar("M", bound=BaseModel)

_ETAG: Final = re.compile(r'(?:W/)?"([\x21\x23-\x7e]*)"')
_MAX_DIGITS: Final = 18
_NUMBER: Final = TypeAdapter[int](RevisionNumber)
_LARGE: Final = 64 * 1024
"""Bytes from which a body is worth a look before it is read."""


class NoQuery(Record):
    """The query of a route that takes none."""


async def read_command(
    request: Request, model: type[M], *, default: M | None = None, limit: int | None = None
) -> tuple[M, Idempotency | None]:
    """Return what a request asks to be done, and its idempotency key.

    ``default``: what an empty body means; it is refused if there is none. ``limit``: bytes of the
    body; those of a single object's if left out.

    Raises:
        InvalidInput: the body doesn't fit ``model``, or there is a query, or a faulty key.
        MalformedBody: the body isn't JSON.
        BodyTooLarge: it has more than ``limit`` bytes.
    """
    context = context_of(request)
    body = await read_body(request, limit=context.max_body if limit is None else limit)
    parse_query(request, NoQuery)
    if default is None or body:
        default = parse_body(body, model, limits=context.limits)
    return default, parse_idempotency(request)


async def read_body(request: Request, *, limit: int) -> bytes:
    """Return the body.

    Raises:
        BodyTooLarge: it has more than ``limit`` bytes.
    """
    return b"".join([chunk async for chunk in _chunks(request, limit)])


async def read_file(request: Request, *, limit: int) -> IO[bytes]:
    """Return the body as a file, which lies on disk unless it is small; to be closed after use.

    Raises:
        BodyTooLarge: it has more than ``limit`` bytes.
    """
    # Closed by who reads it.
    file = cast("IO[bytes]", SpooledTemporaryFile(max_size=_LARGE))  # noqa: SIM115
    try:
        async for chunk in _chunks(request, limit):
            file.write(chunk)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


async def _chunks(request: Request, limit: int) -> AsyncGenerator[bytes]:
    """Yield the body, as long as it isn't larger than it may be."""
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(limit)
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        yield chunk


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body has more than the {limit} bytes that are allowed here")


def parse_body(body: bytes, model: type[M], *, limits: Limits) -> M:
    """Read a body as JSON, whatever its Content-Type says.

    Raises:
        MalformedBody: it isn't JSON.
        InvalidInput: it doesn't fit ``model``; all its faults are named.
    """
    if not body:
        raise MalformedBody("the body is empty; a JSON object is expected")
    if len(body) > _LARGE:
        _refuse_flood(body, model)
    try:
        return model.model_validate_json(body, strict=True, context=limits)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        if details[0]["type"] == "json_invalid":
            why = str(details[0].get("ctx", {}).get("error", "it can't be parsed"))
            raise MalformedBody(f"the body is not JSON: {why}") from None
        content = from_json(body)
        # A field of the wrong shape isn't looked into by its model; what can't be kept is said
        # all the same. The body itself is one level above its fields.
        unkept = (Fault(at, why) for at, why in json_faults(content, limits.json_depth + 1))
        raise refusal(
            islice(chain(unfit(error, content, model), unkept), MAX_FAULTS), f"{model.__name__} has"
        ) from None


def _refuse_flood(body: bytes, model: type[BaseModel]) -> None:
    """Refuse countless unknown fields before each becomes a fault, at a kilobyte each."""
    try:
        content = from_json(body)
    except ValueError:
        return  # what is wrong with it is said where it is read
    if isinstance(content, dict) and len(cast("dict[str, Any]", content)) > MAX_FAULTS:
        unknown = (
            name for name in cast("dict[str, Any]", content) if name not in model.model_fields
        )
        faults = (
            Fault(f"/{pointer_part(name)}", unknown_name(name, model.model_fields))
            for name in islice(unknown, MAX_FAULTS)
        )
        raise refusal(faults, f"{model.__name__} has")


def parse_query(request: Request, model: type[M]) -> M:
    """Read the query parameters; unknown ones are faults, and repeated ones that aren't lists.

    Raises:
        InvalidInput: it doesn't fit ``model``; all its faults are named.
    """
    text = request.scope["query_string"].decode("latin-1")
    pairs = parse_qsl(text, keep_blank_values=True) if text else []
    values: dict[str, Any] = dict(pairs)
    counts = Counter(name for name, _ in pairs)
    faults: list[Fault] = []
    for name in (name for name in values if counts[name] > 1):
        if name in model.model_fields and _is_list(model.model_fields[name].annotation):
            values[name] = [value for each, value in pairs if each == name]
        else:
            faults.append(Fault(f"?{name}", "it is given more than once"))
    try:
        query = model.model_validate(values)
    except ValidationError as error:
        faults += [
            Fault("?" + fault.pointer.removeprefix("/"), fault.detail)
            for fault in unfit(error, values, model)
        ]
    else:
        if not faults:
            return query
    raise refusal(faults[:MAX_FAULTS], "the query has")


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is list or any(_is_list(each) for each in get_args(annotation))


def parse_id(request: Request, name: str) -> UUID:
    """Return the UUID in the path.

    Raises:
        InvalidInput: it isn't one.
    """
    text = request.path_params[name]
    try:
        return UUID(text)
    except ValueError:
        fault = Fault(f"{{{name}}}", f"it isn't a UUID; it is {shown(text)}")
        raise InvalidInput(f"{name} in the path isn't a UUID", faults=(fault,)) from None


def parse_number(request: Request, name: str) -> int:
    """Return the number of a revision, or of a version, in the path.

    Raises:
        InvalidInput: it isn't one.
    """
    text = request.path_params[name]
    try:
        return _NUMBER.validate_python(text)
    except ValidationError:
        fault = Fault(f"{{{name}}}", f"it isn't the number of a {name}; it is {shown(text)}")
        raise InvalidInput(f"{name} in the path isn't a number", faults=(fault,)) from None


def parse_if_match(request: Request) -> int | None:
    """Return the version that If-Match names, `NO_VERSION` where the tag is none of ours.

    None where there is no condition.

    Raises:
        InvalidInput: it isn't one ETag.
    """
    text = _header(request, "If-Match")
    if text is None or text == "*":
        return None
    if not (match := _ETAG.fullmatch(text)):
        fault = Fault("If-Match", f'it must be one ETag such as "3", or *; it is {shown(text)}')
        raise InvalidInput("The condition can't be read.", faults=(fault,))
    tag = match[1]
    return int(tag) if tag.isdecimal() and len(tag) <= _MAX_DIGITS else NO_VERSION


def parse_idempotency(request: Request) -> Idempotency | None:
    """Return the idempotency key of a request.

    Raises:
        InvalidInput: the key isn't 1 to 255 visible ASCII characters.
    """
    key = _header(request, "Idempotency-Key")
    if key is None:
        return None
    return Idempotency(key, caller=request.scope.get("planstore.caller", "anonymous"))


def _header(request: Request, name: str) -> str | None:
    values = request.headers.getlist(name)
    if len(values) > 1:
        fault = Fault(name, f"it is given {len(values)} times; once is allowed")
        raise InvalidInput(f"{name} is given more than once.", faults=(fault,))
    return values[0].strip() if values else None
