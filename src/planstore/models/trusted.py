"""Models of values that need no checking: what comes from the store's own rows was checked before.

To validate a task of forty fields takes longer than to read it. Only what is not yet of the field's
type is converted, such as a status, which is a text in the row.
"""

from __future__ import annotations

import types
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar, Union, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel, TypeAdapter

if TYPE_CHECKING:
    from collections.abc import Callable

M = TypeVar("M", bound=BaseModel)

_AS_THEY_ARE = frozenset({UUID, datetime, str, int, float, bool, types.NoneType, Any})
"""What PostgreSQL's driver makes of a value already."""


class Trusted(Generic[M]):
    """Makes instances of a model."""

    def __init__(self, model: type[M]) -> None:
        self._model = model
        self._names = set(model.model_fields)
        self._conversions: list[tuple[str, Callable[[Any], Any]]] = [
            (name, TypeAdapter[Any](field.annotation or Any).validate_python)
            for name, field in model.model_fields.items()
            if not _is_as_it_is(field.annotation)
        ]

    def of_row(self, values: dict[str, Any]) -> M:
        """Make an instance of what a row has for each of the model's fields.

        The dictionary becomes the instance's own.
        """
        for name, convert in self._conversions:
            value = values[name]
            # What is empty is of its type, whatever it is empty of.
            if value is not None and value != []:
                values[name] = convert(value)
        return self.of_fields(values)

    def of_fields(self, values: dict[str, Any]) -> M:
        """The same of values that are of the fields' types already."""
        made = self._model.__new__(self._model)
        # As `model_construct` does, without going through the fields. Who changes a copy's set of
        # names copies that first.
        object.__setattr__(made, "__dict__", values)
        object.__setattr__(made, "__pydantic_fields_set__", self._names)
        object.__setattr__(made, "__pydantic_extra__", None)
        object.__setattr__(made, "__pydantic_private__", None)
        return made


def _is_as_it_is(kind: Any) -> bool:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _is_as_it_is(parts[0])
    if origin in {Union, types.UnionType, dict, list}:
        return all(map(_is_as_it_is, parts))
    return kind in _AS_THEY_ARE
