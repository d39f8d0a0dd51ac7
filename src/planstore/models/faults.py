"""What a model refuses in an input, said as faults: each with its place and what is allowed."""

from __future__ import annotations

import difflib
import re
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final, Literal, cast, get_args, get_origin

from pydantic import BaseModel

from planstore.errors import Fault, InvalidInput
from planstore.models.fields import pointer_part, shortened, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

REQUIRED: Final = "it is required, and isn't given"

_MEMBER: Final = re.compile(r"<\w+\.\w+: ('\w+')>")
"""How pydantic writes a member of an enum."""
_TAG: Final = re.compile(r"'(\w+)'")
"""How pydantic lists the members of a union."""


def refusal(
    faults: Iterable[Fault], subject: str, *, kind: type[InvalidInput] = InvalidInput
) -> InvalidInput:
    """Return the error for an input that has faults.

    ``subject``: which one, as in "Plan has". ``kind``: of which class.
    """
    # A union reports each of its members; one fault per place is enough.
    unique = tuple({fault.pointer: fault for fault in reversed([*faults])}.values())[::-1]
    count = "a fault" if len(unique) == 1 else f"{len(unique)} faults"
    first = unique[0]
    return kind(f"{subject} {count}: {first.pointer or 'the body'}: {first.detail}", faults=unique)


def unfit(error: ValidationError, content: Any, model: type[BaseModel]) -> Iterator[Fault]:
    """Yield what ``model`` refuses in ``content``."""
    for detail in error.errors(include_url=False, include_input=False):
        yield from _faults(detail, content, model)


def _faults(detail: ErrorDetails, content: Any, model: type[BaseModel]) -> Iterable[Fault]:
    path, value = _locate(detail["loc"], content)
    pointer = "".join(f"/{pointer_part(part)}" for part in path)
    match detail["type"]:
        case "extra_forbidden":
            known = _model_at(model, path, content).model_fields
            names = (field.alias or name for name, field in known.items())
            yield Fault(pointer, unknown_name(str(path[-1]), names))
        case "missing":
            name = pointer_part(detail["loc"][-1])
            yield Fault(f"{pointer}/{name}", REQUIRED)
        case "union_tag_not_found" | "union_tag_invalid":
            tag = detail.get("ctx", {})["discriminator"].strip("'")
            known = _TAG.findall(detail.get("ctx", {}).get("expected_tags", ""))
            yield Fault(f"{pointer}/{tag}", _untold(value.get(tag), known))
        case "not_kept":
            context = detail.get("ctx", {})
            for inner, why in cast("list[tuple[str, str]]", context["faults"]):
                yield Fault(pointer + inner, why)
        case _:
            message = _MEMBER.sub(r"\1", detail["msg"])
            yield Fault(pointer, f"{_uncapitalised(message)}; it is {shown(value)}")


def _locate(loc: Sequence[int | str], content: Any) -> tuple[list[int | str], Any]:
    """Follow ``loc`` in the input, without what isn't there: the members of a union are named."""
    path: list[int | str] = []
    for part, following in zip_longest(loc, loc[1:]):
        match content:
            case dict() if part in content and not _is_tag(part, following, content):
                content = cast("dict[int | str, Any]", content)[part]
            case list() if isinstance(part, int) and part < len(cast("list[Any]", content)):
                content = cast("list[Any]", content)[part]
            case _:
                continue
        path.append(part)
    return path, content


def _is_tag(part: int | str, following: int | str | None, content: Any) -> bool:
    """Whether it is the name of a union's member rather than of a field that is unknown there."""
    return part in content.values() and following in content


def _model_at(model: type[BaseModel], path: Sequence[int | str], content: Any) -> type[BaseModel]:
    """Follow ``path`` into the models of a list's items: an unknown field is one of theirs.

    What a model that is a list by itself holds is called `root` by pydantic. Of a union it is the
    member that the input names.
    """
    members = [model]
    for part in path[:-1]:
        fields = _meant(members, content).model_fields
        content = content[part]
        field = fields.get(str(part)) or fields.get("root")
        members = ([*_models_in(field.annotation)] if field else []) or members
    return _meant(members, content)


def _meant(members: Sequence[type[BaseModel]], content: Any) -> type[BaseModel]:
    """Return the member of a union whose constant fields are as in the input; else the first."""
    if not isinstance(content, dict):
        return members[0]
    given = cast("dict[str, Any]", content)
    for member in members:
        constants = {
            name: get_args(field.annotation)
            for name, field in member.model_fields.items()
            if get_origin(field.annotation) is Literal
        }
        if all(given.get(name) in allowed for name, allowed in constants.items()):
            return member
    return members[0]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _uncapitalised(sentence: str) -> str:
    """Begin within a sentence, unless with a name such as UUID."""
    return sentence if sentence[1:2].isupper() else sentence[:1].lower() + sentence[1:]


def unknown_name(name: str, known: Iterable[str]) -> str:
    """Say that a name is unknown, with the nearest known one."""
    known = list(known)
    near = difflib.get_close_matches(shortened(name), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(known) or 'none'}"
    return f"it is unknown; {hint}"


def _untold(tag: Any, known: Sequence[str]) -> str:
    if tag is None:
        return f"it is required; known are: {', '.join(known)}" if known else REQUIRED
    return (
        unknown_name(tag, known) if isinstance(tag, str) else f"it is unknown; it is {shown(tag)}"
    )
