"""An import-linter contract that import-linter does not have: a package may be entered by a few doors only."""

from __future__ import annotations

import grimp
from importlinter import Contract, ContractCheck, fields, output


class DoorsContract(Contract):
    """`importers` may import nothing of `package` but `doors`; the doors may import nothing of it but each other.

    The second half keeps the first honest: behind a door that imports the rest, all of it would come along. A new
    module is closed until it is named, which a list of forbidden modules cannot do.
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
        """One line per import that is not allowed, then what is."""
        for link in check.metadata["broken"]:
            output.print_error(link)
        output.print(f"Allowed: {', '.join(check.metadata['doors'])}")


def _with_descendants(graph: grimp.ImportGraph, modules: list[str]) -> set[str]:
    """These modules, where they exist, and all below them."""
    present = {module for module in modules if module in graph.modules}
    return present.union(*(graph.find_descendants(module) for module in present))
