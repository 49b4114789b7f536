"""Make components that a script defines itself (`@component` in `my_pipeline.py`) importable in nodes' processes.

In those processes `__main__` is another module. Like multiprocessing, they import the script by its own name, without
running the code under `if __name__ == "__main__":`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from benison.components import modules
from benison.pipelines.compilation.plain_data import mappings
from benison.serving.errors import UsageError

_MAIN = "__main__."
_NODE_PROCESSES = tuple(f"benison.pipelines.{name}" for name in ("worker", "node", "scheduled_node", "begin"))


def make_importable(ir: Path) -> None:
    """Replace `__main__` in a compiled pipeline by the script's module name.

    Args:
        ir: the pipeline's IR file (JSON).

    Raises:
        UsageError: a component is defined in `__main__`, which is not a file that can be imported by its name.
    """
    pipeline = json.loads(ir.read_text())
    specs = [spec for spec in mappings(pipeline) if str(spec.get("classPath", "")).startswith(_MAIN)]
    for spec in specs:
        spec["classPath"] = f"{_script_module(spec['classPath'])}.{spec['classPath'].removeprefix(_MAIN)}"
    if specs:
        ir.write_text(json.dumps(pipeline, indent=2))


def forbid_in_worker() -> None:
    """Refuse to run a pipeline inside a node's process, where a script that runs its pipeline on import would do so.

    Raises:
        UsageError: this process runs a node.
    """
    if _main_name() in _NODE_PROCESSES:
        raise UsageError(
            "a pipeline cannot run inside a node; if the node only imported the script that defines the pipeline, "
            'put the call of the runner under `if __name__ == "__main__":`'
        )


def _script_module(class_path: str) -> str:
    """Return the module name by which another process can import this process's `__main__`."""
    component = class_path.removeprefix(_MAIN).removesuffix("_Executor")
    file = getattr(sys.modules["__main__"], "__file__", None)
    if file is None or not Path(file).is_file():
        raise UsageError(
            f"component {component!r} is defined in a notebook or shell, where the processes that run nodes cannot "
            "import it; move it to a module (a .py file) and import it from there"
        )
    name = _main_name() or Path(file).stem
    importable = modules.find(name)
    if importable is None or not os.path.samefile(importable, file):
        raise UsageError(
            f"component {component!r} is defined in {file}, which cannot be imported as {name!r}; "
            "move it to a module (a .py file in the same folder) and import it from there"
        )
    return name


def _main_name() -> str | None:
    """Return the module that `python -m` runs; None for a script."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec else None
