"""What one statement of a file binds, refers to, imports and writes into."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

Chain = tuple[str, ...]
"""A name and the attributes taken from it: `layers.dense.Block` is ("layers", "dense", "Block")."""

# Method names that change the object they are called on, in the containers a registry is usually made of.
_MUTATORS = frozenset(
    {"append", "appendleft", "add", "clear", "discard", "extend", "insert"}
    | {"pop", "popitem", "register", "remove", "setdefault", "update"}
)


@dataclass(frozen=True)
class Import:
    """One name brought in by an import.

    Attributes:
        level: Leading dots of a relative import; 0 is absolute.
        module: Dotted module, without the dots in front; may be empty (`from . import x`).
        name: What is taken from the module; None for `import module`, "*" for all of it.
        bound: The name it has in the importing file; dotted for `import a.b`, which binds only `a`.
    """

    level: int
    module: str
    name: str | None
    bound: str


@dataclass(frozen=True)
class References:
    """What `of` finds in one top-level statement, functions nested in it included.

    Attributes:
        binds: Names it gives a value at module level.
        uses: Names and attribute chains it refers to.
        imports: What it imports.
        calls: Chains that it may call while the file is imported (decorators, calls in values and their arguments).
        methods: Chains among them called as decorators or by a method name that changes its object.
        bases: Base classes and metaclasses.
        mutates: Names not its own that it writes into (`X[...] =`, `X.append()`).
        writes: Whether a function in it writes into something it did not make.
        hooks: Whether it defines a class that acts on its subclasses' definition.
    """

    binds: frozenset[str]
    uses: frozenset[Chain]
    imports: tuple[Import, ...]
    calls: frozenset[Chain]
    methods: frozenset[Chain]
    bases: frozenset[Chain]
    mutates: frozenset[str]
    writes: bool
    hooks: bool


def of(node: ast.stmt) -> References:
    """Reads one top-level statement."""
    reader = _Reader()
    reader.visit(node)
    return References(
        binds=frozenset(reader.binds),
        uses=frozenset(reader.uses),
        imports=tuple(reader.imports),
        calls=frozenset(reader.on_import) if reader.called else frozenset(),
        methods=frozenset(reader.methods),
        bases=frozenset(reader.bases),
        mutates=frozenset(reader.mutates),
        writes=reader.writes,
        hooks=reader.hooks,
    )


def stores(node: ast.Attribute | ast.Subscript | ast.Name) -> bool:
    """Whether a value is put into (or deleted from) this place rather than read from it."""
    return isinstance(node.ctx, ast.Store | ast.Del)


def _chain(node: ast.expr) -> Chain:
    """The name and attributes that an expression is, or () where it is something else."""
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        head = _chain(node.value)
        return (*head, node.attr) if head else ()
    return ()


def _base(node: ast.expr) -> str | None:
    """The name at the bottom of `name.a[0].b`."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


@dataclass(frozen=True)
class _Scope:
    """A function being read: its parameters, and the names it assigns itself."""

    parameters: frozenset[str]
    assigned: frozenset[str]


class _Reader(ast.NodeVisitor):
    """Collects what `References` holds.

    `on_import` are the chains that are evaluated when the file is imported, `called` says whether anything is called
    then.
    """

    def __init__(self) -> None:
        self.binds: set[str] = set()
        self.uses: set[Chain] = set()
        self.on_import: set[Chain] = set()
        self.methods: set[Chain] = set()
        self.bases: set[Chain] = set()
        self.mutates: set[str] = set()
        self.imports: list[Import] = []
        self.writes = self.hooks = self.called = False
        self._scopes: list[_Scope] = []
        self._classes = 0
        self._annotating = False

    def _use(self, chain: Chain) -> None:
        self.uses.add(chain)
        if not self._scopes and not self._annotating:
            self.on_import.add(chain)

    def _bind(self, name: str | None) -> None:
        if name and not self._scopes and not self._classes:
            self.binds.add(name)

    def _write(self, name: str | None, *, attribute: bool) -> None:
        """Notes a write into the object called `name`, unless the function that writes has made it itself."""
        if name is None or any(name in scope.assigned for scope in self._scopes):
            return
        self.mutates.add(name)
        if not self._scopes or name in ("self", "cls"):
            return
        # A decorator that marks its function (`f.metric = ...`) changes only what it was given.
        marks = attribute and any(name in scope.parameters for scope in self._scopes)
        self.writes = self.writes or not marks

    def visit_Name(self, node: ast.Name) -> None:
        if stores(node):
            self._bind(node.id)
        else:
            self._use((node.id,))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if stores(node):
            self._write(_base(node), attribute=True)
        chain = _chain(node)
        if chain:
            self._use(chain)
        else:
            self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if stores(node):
            self._write(_base(node), attribute=False)
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global) -> None:
        self.writes = True
        self.binds.update(node.names)
        self.uses.update((name,) for name in node.names)

    def visit_Call(self, node: ast.Call) -> None:
        chain = _chain(node.func)
        self.called = self.called or not self._scopes
        if len(chain) > 1 and chain[-1] in _MUTATORS:
            self._write(chain[0], attribute=False)
            if not self._scopes:
                self.methods.add(chain)
        constants = [arg.value if isinstance(arg, ast.Constant) else None for arg in node.args]
        if chain[-1:] in (("import_module",), ("__import__",)) and constants and isinstance(constants[0], str):
            module = constants[0].lstrip(".")
            self.imports.append(Import(len(constants[0]) - len(module), module, "*", "*"))
        if chain == ("getattr",) and len(constants) > 1 and isinstance(constants[1], str) and _chain(node.args[0]):
            self._use((*_chain(node.args[0]), constants[1]))
            for extra in node.args[2:]:
                self.visit(extra)
        else:
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            bound = alias.asname or alias.name
            self.imports.append(Import(0, alias.name, None, bound))
            self._bind(bound.split(".")[0])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            bound = alias.asname or alias.name
            self.imports.append(Import(node.level, node.module or "", alias.name, bound))
            self._bind(bound)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._bind(node.name)
        self._decorators(node.decorator_list)
        bases = set(filter(None, map(_chain, [*node.bases, *(keyword.value for keyword in node.keywords)])))
        self.bases.update(bases)
        methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
        metaclass = any(base[-1] == "type" or base[-1].endswith("Meta") for base in map(_chain, node.bases) if base)
        self.hooks = self.hooks or metaclass or "__init_subclass__" in methods
        self._classes += 1
        for child in ast.iter_child_nodes(node):
            if child not in node.decorator_list:
                self.visit(child)
        self._classes -= 1

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
                chain = _chain(decorator.func if isinstance(decorator, ast.Call) else decorator)
                self.methods.update({chain} if len(chain) > 1 else ())
            self.visit(decorator)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, body: Sequence[ast.AST]) -> None:
        inner = [part for statement in body for part in ast.walk(statement)]
        shared = {name for part in inner if isinstance(part, ast.Global) for name in part.names}
        assigned = {part.id for part in inner if isinstance(part, ast.Name) and stores(part)}
        parameters = {part.arg for part in ast.walk(node.args) if isinstance(part, ast.arg)}
        self._scopes.append(_Scope(frozenset(parameters), frozenset(assigned - shared)))
        for statement in body:
            self.visit(statement)
        self._scopes.pop()

    def _annotation(self, node: ast.expr) -> None:
        """Reads an annotation, also one written as a string; it names types but calls nothing."""
        before, self._annotating = self._annotating, True
        self.visit(node)
        for part in ast.walk(node):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                try:
                    self.visit(ast.parse(part.value, mode="eval").body)
                except (SyntaxError, ValueError):
                    continue  # a `Literal["any text"]`
        self._annotating = before
