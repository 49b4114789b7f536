"""An import-linter contract: a package may be imported only through a few of its modules, its doors."""

from __future__ import annotations

import grimp
from importlinter import Contract, ContractCheck, fields, output


class DoorsContract(Contract):
    """`importers` may import only the `doors` of `package`, and the doors may import only each other from it.

    Without the second rule, a door that imports the rest of the package would open all of it. A new module is closed
    until it is listed as a door; a list of forbidden modules cannot do that.
    """

    type_name = "doors"

    importers = fields.ListField(subfield=fields.ModuleField())
    package = fields.ModuleField()
    doors = fields.ListField(subfield=fields.ModuleField())

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:
        """Compare every import into the package with the doors."""
        package = self.package.name  # type: ignore[attr-defined]
        doors = _with_descendants(graph, [door.name for door in self.doors])  # type: ignore[attr-defined]
        importers = _with_descendants(graph, [module.name for module in self.importers])  # type: ignore[attr-defined]
        closed = graph.find_descendants(package) - doors
        broken = sorted(
            f"{importer} -> {imported}"
            for imported in closed
            for importer in graph.find_modules_that_directly_import(imported) & (importers | doors)
        )
        return ContractCheck(kept=not broken, metadata={"broken": broken, "doors": sorted(doors)})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print one line per forbidden import, then the allowed modules."""
        for link in check.metadata["broken"]:
            output.print_error(link)
        output.print(f"Allowed: {', '.join(check.metadata['doors'])}")


def _with_descendants(graph: grimp.ImportGraph, modules: list[str]) -> set[str]:
    """Return the modules that exist, with all their descendants."""
    present = {module for module in modules if module in graph.modules}
    return present.union(*(graph.find_descendants(module) for module in present))
