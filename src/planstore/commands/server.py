"""The server that commands speak to, and what is given to it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json

from planstore.client import PlanStoreClient
from planstore.commands.address import DEFAULT_URL
from planstore.errors import MalformedBody
from planstore.models.faults import refusal, unfit

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

M = TypeVar("M", bound=BaseModel)


_PATIENCE: Final = 2.0
"""Seconds for which a server that isn't there is asked again: somebody sits and waits."""


def server() -> AbstractContextManager[PlanStoreClient]:
    """Open the server that commands speak to."""
    url, api_key = address()
    return PlanStoreClient.open(url, api_key=api_key, retry_for=_PATIENCE)


def address() -> tuple[str, str | None]:
    """Return the server that ``PLANSTORE_URL`` names, and the key in ``PLANSTORE_API_KEY``."""
    url = os.environ.get("PLANSTORE_URL") or DEFAULT_URL
    return url, os.environ.get("PLANSTORE_API_KEY") or None


def worker_name() -> str:
    """Return who works at this terminal, unless told otherwise."""
    user = os.environ.get("USER") or os.environ.get("LOGNAME") or "somebody"
    return f"{user}@{os.uname().nodename}"


def json_object(text: str, *, what: str) -> dict[str, Any]:
    """Read a JSON object: the text itself, or of a file where it is ``@path`` (``@-``: stdin).

    Raises:
        MalformedBody: it isn't JSON, or no object, or there is no such file.
    """
    source = text
    if text.startswith("@"):
        source = text[1:]
        text = _content_of(source, what=what)
    try:
        value = from_json(text)
    except ValueError as error:
        raise MalformedBody(f"{what} isn't JSON: {error}") from None
    if not isinstance(value, dict):
        raise MalformedBody(f"{what} must be a JSON object, such as {{}}")
    return cast("dict[str, Any]", value)


def _content_of(path: str, *, what: str) -> str:
    if path == "-":
        if sys.stdin.isatty():
            raise MalformedBody(f"{what} is to come from a pipe, but stdin is this terminal")
        return sys.stdin.read()
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MalformedBody(f"{what} can't be read from {path}: {error}") from None


def checked(model: type[M], given: dict[str, Any]) -> M:
    """Return what is given as a model.

    Raises:
        InvalidInput: it can't be one; all faults are named.
    """
    text = to_json(given)
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise refusal(unfit(error, from_json(text), model), "What is given has") from None
