"""The names that one top-level statement of a file binds, uses, imports and changes."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from benison.components import written_imports
from benison.components.written_imports import Import

DottedName = tuple[str, ...]
"""A name and the attributes taken from it: `layers.dense.Block` is ("layers", "dense", "Block")."""

# Method names that change the object they are called on, in the containers a registry is usually made of.
_MUTATORS = frozenset(
    {"append", "appendleft", "add", "clear", "discard", "extend", "insert"}
    | {"pop", "popitem", "register", "remove", "setdefault", "update"}
)


@dataclass(frozen=True)
class References:
    """The names in one top-level statement, including the functions nested in it.

    Attributes:
        binds: Names it gives a value at module level.
        uses: Dotted names it refers to.
        imports: Its imports.
        calls: Dotted names that it may call while the file is imported (decorators, calls in values, their arguments).
        mutating_calls: Those of them that are methods called as a decorator, or methods that change their object.
        bases: Base classes and metaclasses.
        mutates: Names of other statements whose value it changes (`X[...] =`, `X.append()`).
        changes_outer: Whether a function in it changes an object that the function did not create.
        hooks_subclasses: Whether it defines a class that acts when a subclass is defined.
    """

    binds: frozenset[str]
    uses: frozenset[DottedName]
    imports: tuple[Import, ...]
    calls: frozenset[DottedName]
    mutating_calls: frozenset[DottedName]
    bases: frozenset[DottedName]
    mutates: frozenset[str]
    changes_outer: bool
    hooks_subclasses: bool


def collect(node: ast.stmt) -> References:
    """Collect the references of one top-level statement."""
    collector = _Collector()
    collector.visit(node)
    return References(
        binds=frozenset(collector.binds),
        uses=frozenset(collector.uses),
        imports=tuple(collector.imports),
        calls=frozenset(collector.on_import) if collector.called else frozenset(),
        mutating_calls=frozenset(collector.mutating_calls),
        bases=frozenset(collector.bases),
        mutates=frozenset(collector.mutates),
        changes_outer=collector.changes_outer,
        hooks_subclasses=collector.hooks_subclasses,
    )


def is_target(node: ast.Attribute | ast.Subscript | ast.Name) -> bool:
    """Return whether the code assigns to this expression (or deletes it) instead of reading it."""
    return isinstance(node.ctx, ast.Store | ast.Del)


def _dotted_name(node: ast.expr) -> DottedName:
    """Return an expression as a dotted name, or () if it is something else."""
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        head = _dotted_name(node.value)
        return (*head, node.attr) if head else ()
    return ()


def _first_name(node: ast.expr) -> str | None:
    """Return the name that `name.a[0].b` begins with."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


@dataclass(frozen=True)
class _Scope:
    """The parameters of the function being visited, and the names that it assigns itself."""

    parameters: frozenset[str]
    assigned: frozenset[str]


class _Collector(ast.NodeVisitor):
    """Collects the fields of `References`.

    `on_import` holds the dotted names that are evaluated when the file is imported, `called` whether anything is called
    then.
    """

    def __init__(self) -> None:
        self.binds: set[str] = set()
        self.uses: set[DottedName] = set()
        self.on_import: set[DottedName] = set()
        self.mutating_calls: set[DottedName] = set()
        self.bases: set[DottedName] = set()
        self.mutates: set[str] = set()
        self.imports: list[Import] = []
        self.changes_outer = self.hooks_subclasses = self.called = False
        self._scopes: list[_Scope] = []
        self._class_depth = 0
        self._in_annotation = False

    def _use(self, dotted: DottedName) -> None:
        self.uses.add(dotted)
        if not self._scopes and not self._in_annotation:
            self.on_import.add(dotted)

    def _bind(self, name: str | None) -> None:
        if name and not self._scopes and not self._class_depth:
            self.binds.add(name)

    def _mutate(self, name: str | None, *, attribute: bool) -> None:
        """Record a change of the object called `name`, unless the function that changes it created it."""
        if name is None or any(name in scope.assigned for scope in self._scopes):
            return
        self.mutates.add(name)
        if not self._scopes or name in ("self", "cls"):
            return
        # A decorator that marks its function (`f.metric = ...`) changes only its argument.
        marks = attribute and any(name in scope.parameters for scope in self._scopes)
        self.changes_outer = self.changes_outer or not marks

    def visit_Name(self, node: ast.Name) -> None:
        if is_target(node):
            self._bind(node.id)
        else:
            self._use((node.id,))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if is_target(node):
            self._mutate(_first_name(node), attribute=True)
        dotted = _dotted_name(node)
        if dotted:
            self._use(dotted)
        else:
            self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if is_target(node):
            self._mutate(_first_name(node), attribute=False)
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global) -> None:
        self.changes_outer = True
        self.binds.update(node.names)
        self.uses.update((name,) for name in node.names)

    def visit_Call(self, node: ast.Call) -> None:
        function = _dotted_name(node.func)
        self.called = self.called or not self._scopes
        if len(function) > 1 and function[-1] in _MUTATORS:
            self._mutate(function[0], attribute=False)
            if not self._scopes:
                self.mutating_calls.add(function)
        constants = [arg.value if isinstance(arg, ast.Constant) else None for arg in node.args]
        self.imports.extend(written_imports.of(node))
        if (
            function == ("getattr",)
            and len(constants) > 1
            and isinstance(constants[1], str)
            and _dotted_name(node.args[0])
        ):
            self._use((*_dotted_name(node.args[0]), constants[1]))
            for extra in node.args[2:]:
                self.visit(extra)
        else:
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        for item in written_imports.of(node):
            self.imports.append(item)
            self._bind(item.bound.split(".")[0])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.visit_Import(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._bind(node.name)
        self._decorators(node.decorator_list)
        bases = [*node.bases, *(keyword.value for keyword in node.keywords)]
        self.bases.update(filter(None, map(_dotted_name, bases)))
        methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
        metaclass = any(
            base[-1] == "type" or base[-1].endswith("Meta") for base in map(_dotted_name, node.bases) if base
        )
        self.hooks_subclasses = self.hooks_subclasses or metaclass or "__init_subclass__" in methods
        self._class_depth += 1
        for child in ast.iter_child_nodes(node):
            if child not in node.decorator_list:
                self.visit(child)
        self._class_depth -= 1

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._bind(node.name)
        self._decorators(node.decorator_list)
        self.visit(node.args)
        if node.returns:
            self._annotation(node.returns)
        for parameter in getattr(node, "type_params", []):
            self.visit(parameter)
        self._function(node, node.body)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.visit(node.args)
        self._function(node, [node.body])

    def visit_arg(self, node: ast.arg) -> None:
        if node.annotation:
            self._annotation(node.annotation)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._annotation(node.annotation)
        self.visit(node.target)
        if node.value:
            self.visit(node.value)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self._bind(node.name)
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        self._bind(node.name)
        self.generic_visit(node)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        self._bind(node.name)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        self._bind(node.rest)
        self.generic_visit(node)

    def _decorators(self, decorators: list[ast.expr]) -> None:
        for decorator in decorators:
            if not self._scopes:
                self.called = True
                dotted = _dotted_name(decorator.func if isinstance(decorator, ast.Call) else decorator)
                self.mutating_calls.update({dotted} if len(dotted) > 1 else ())
            self.visit(decorator)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, body: Sequence[ast.AST]) -> None:
        inner = [part for statement in body for part in ast.walk(statement)]
        shared = {name for part in inner if isinstance(part, ast.Global) for name in part.names}
        assigned = {part.id for part in inner if isinstance(part, ast.Name) and is_target(part)}
        parameters = {part.arg for part in ast.walk(node.args) if isinstance(part, ast.arg)}
        self._scopes.append(_Scope(frozenset(parameters), frozenset(assigned - shared)))
        for statement in body:
            self.visit(statement)
        self._scopes.pop()

    def _annotation(self, node: ast.expr) -> None:
        """Visit an annotation, even one written as a string; it names types but calls nothing."""
        before, self._in_annotation = self._in_annotation, True
        self.visit(node)
        for part in ast.walk(node):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                try:
                    self.visit(ast.parse(part.value, mode="eval").body)
                except (SyntaxError, ValueError):
                    continue  # a `Literal["any text"]`
        self._in_annotation = before
