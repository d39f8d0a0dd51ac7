"""Write the methods of both clients: ``make client``.

Signatures and docstrings are those of `PlanStore`; what a method sends stands in
`planstore.client.calls`, under its name. A test fails where the clients and these disagree.
"""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Final

from planstore.client import calls
from planstore.services.plan_store import PlanStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

CLIENT: Final = Path(__file__).parent.parent / "src" / "planstore" / "client"

LEFT_OUT: Final = {
    "count_events": "a server does it all the time",
    "forget_old_keys": "a server does it all the time",
    "get_standing": "a server tells it at /metrics",
    "index_words": "a server does it all the time",
    "make_deliveries": "a server does it all the time",
    "meters": "a server tells it at /metrics",
    "preview_pruning": "an operator's: `planstore prune --dry-run`",
    "prune": "an operator's: `planstore prune`",
    "refresh_estimates": "a server does it all the time",
    "relay_to": "a server does it where it is told of a Redis",
    "send_deliveries": "a server does it all the time",
    "stop_waiting": "it is about the process that waits",
    "sweep": "a server does it all the time",
    "watch_log": "a server does it all the time",
}
"""The methods of `PlanStore` that the clients don't have, and why."""

BY_HAND: Final = frozenset({"open", "where"})
"""Those that stand in `planstore.client.connection`."""

_TEMPLATE: Final = '''\
"""{title}

Written by `make client`, of `PlanStore` and `planstore.client.calls`; change these instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from planstore.client import calls
from planstore.client.connection import {base}
{imports}

if TYPE_CHECKING:
{type_imports}


class {name}({base}):
    """{doc}"""

{methods}
'''

_METHOD: Final = """\
{head}:
    \"""{doc}    \"""
    return {body}
"""


@dataclass(frozen=True, slots=True)
class Face:
    """One of the two clients."""

    title: str
    name: str
    base: str
    doc: str
    is_async: bool
    instead: Mapping[str, tuple[str, str]]
    """What stands here for a name in the signatures of `PlanStore`: a module, and a name in it."""


FACES: Final = {
    "asynchronous.py": Face(
        title="The client of asynchronous code.",
        name="AsyncPlanStoreClient",
        base="AsyncConnection",
        doc="""`PlanStore` over HTTP.

    Open it with `AsyncPlanStoreClient.open`. Its methods may be called concurrently.
    """,
        is_async=True,
        instead={"EventStream": ("planstore.client.streaming", "AsyncEventStream")},
    ),
    "synchronous.py": Face(
        title="The client of synchronous code.",
        name="PlanStoreClient",
        base="Connection",
        doc="""`PlanStore` over HTTP, for code without asyncio.

    Open it with `PlanStoreClient.open`. Its methods may be called by several threads at once.
    """,
        is_async=False,
        instead={
            "AbstractAsyncContextManager": ("contextlib", "AbstractContextManager"),
            "EventStream": ("planstore.client.streaming", "EventStream"),
        },
    ),
}
"""By the name of the module."""


@dataclass(slots=True)
class Imports:
    """The names that signatures need, by the module that they come from."""

    for_types: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    for_values: dict[str, set[str]] = field(default_factory=dict[str, set[str]])

    @property
    def of_values(self) -> str:
        """The statements for what is needed when the module is imported."""
        return _lines(self.for_values)

    @property
    def of_types(self) -> str:
        """The statements for what is needed by type checkers only."""
        left = {
            module: names - self.for_values.get(module, set())
            for module, names in self.for_types.items()
        }
        return _lines({module: names for module, names in left.items() if names})


def _lines(imported: dict[str, set[str]]) -> str:
    return "\n".join(f"from {module} import {', '.join(imported[module])}" for module in imported)


@dataclass(frozen=True, slots=True)
class Method:
    """A method of `PlanStore`, as it is written there."""

    node: ast.AsyncFunctionDef | ast.FunctionDef
    origins: dict[str, str]
    """The modules that the names come from."""

    def written(self, face: Face, imports: Imports) -> str:
        """Return it as a method of a client; what it needs is added to ``imports``."""
        signature = _Signature(face, self.origins, imports)
        arguments = signature.visit(self.node.args)
        assert self.node.returns is not None
        returns = signature.visit(self.node.returns)
        opens = isinstance(self.node, ast.FunctionDef)
        is_async = face.is_async and not opens
        docstring = ast.get_docstring(self.node) or ""
        if not face.is_async:
            docstring = docstring.replace("async with", "with")
        define, wait = ("async def", "await ") if is_async else ("def", "")
        return _METHOD.format(
            head=f"{define} {self.node.name}({ast.unparse(arguments)}) -> {ast.unparse(returns)}",
            doc=indent(docstring + "\n" * ("\n" in docstring), "    ").lstrip(),
            body=f"{wait}self.{'_open' if opens else '_do'}({self._call()})",
        )

    def _call(self) -> str:
        arguments = self.node.args
        by_place = [each.arg for each in arguments.args if each.arg != "self"]
        by_name = [each.arg for each in arguments.kwonlyargs]
        given = [*by_place, *(f"{name}={name}" for name in by_name if name != "idempotency")]
        call = f"calls.{self.node.name}({', '.join(given)})"
        return f"{call}, idempotency=idempotency" if "idempotency" in by_name else call


class _Signature(ast.NodeTransformer):
    """Puts the names of a client into a signature, and notes what they need."""

    def __init__(self, face: Face, origins: dict[str, str], imports: Imports) -> None:
        self._face = face
        self._origins = origins
        self._imports = imports

    def visit_arguments(self, node: ast.arguments) -> ast.arguments:
        for default in (*node.defaults, *node.kw_defaults):
            for name in ast.walk(default) if default is not None else ():
                if isinstance(name, ast.Name):
                    origin = self._origins[name.id]
                    self._imports.for_values.setdefault(origin, set()).add(name.id)
        for each in (*node.args, *node.kwonlyargs):
            if each.annotation is not None:
                each.annotation = self.visit(each.annotation)
        return node

    def visit_Name(self, node: ast.Name) -> ast.Name:
        if node.id not in self._origins:
            return node
        module, name = self._face.instead.get(node.id, (self._origins[node.id], node.id))
        self._imports.for_types.setdefault(module, set()).add(name)
        return ast.Name(name)


def methods() -> Iterator[Method]:
    """Return the public methods of `PlanStore` that go over HTTP, by what they are about.

    Raises:
        LookupError: it isn't said of one how it goes.
    """
    for part in PlanStore.__mro__[:-1]:
        tree = ast.parse(inspect.getsource(sys.modules[part.__module__]))
        origins = _origins(tree)
        for node in _body_of(part, tree):
            if not isinstance(node, (ast.AsyncFunctionDef, ast.FunctionDef)):
                continue
            if node.name.startswith("_") or node.name in {*LEFT_OUT, *BY_HAND}:
                continue
            if not hasattr(calls, node.name):
                raise LookupError(f"write {node.name} in planstore.client.calls, or leave it out")
            yield Method(node, origins)


def _origins(tree: ast.Module) -> dict[str, str]:
    return {
        name.asname or name.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module is not None
        for name in node.names
    }


def _body_of(part: type, tree: ast.Module) -> Iterable[ast.stmt]:
    return next(
        node.body
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == part.__name__
    )


def written(face: Face) -> str:
    """Return the module of a client."""
    imports = Imports()
    bodies = [method.written(face, imports) for method in methods()]
    return _formatted(
        _TEMPLATE.format(
            title=face.title,
            name=face.name,
            base=face.base,
            doc=face.doc,
            imports=imports.of_values,
            type_imports=indent(imports.of_types, "    "),
            methods=indent("\n\n".join(bodies), "    "),
        )
    )


def _formatted(source: str) -> str:
    for command in (["check", "--select", "I", "--fix", "--quiet"], ["format"]):
        source = subprocess.run(  # noqa: S603 - it is ruff
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", CLIENT / "of.py", "-"],
            input=source,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    return source


def main() -> None:
    """Write both clients."""
    for name, face in FACES.items():
        (CLIENT / name).write_text(written(face), "utf-8")


if __name__ == "__main__":
    main()
