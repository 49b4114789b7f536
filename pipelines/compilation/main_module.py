"""Components that a script defines itself, `@component` in `my_pipeline.py`, for the processes in which nodes run.

There `__main__` is another module. As multiprocessing does it, the script is imported by its own name instead, and what
stands under `if __name__ == "__main__":` is left out.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from benison.pipelines.code import modules
from benison.pipelines.compilation.plain_data import mappings
from benison.serving.errors import UsageError

_MAIN = "__main__."
_NODE_PROCESSES = tuple(f"benison.pipelines.{name}" for name in ("worker", "node", "scheduled_node", "begin"))


def make_importable(ir: Path) -> None:
    """Puts the script's name in place of `__main__` in a compiled pipeline.

    Args:
        ir: its file (JSON).

    Raises:
        UsageError: a component is defined in `__main__`, and that is no file that can be imported by its name.
    """
    pipeline = json.loads(ir.read_text())
    specs = [spec for spec in mappings(pipeline) if str(spec.get("classPath", "")).startswith(_MAIN)]
    for spec in specs:
        spec["classPath"] = f"{_script_module(spec['classPath'])}.{spec['classPath'].removeprefix(_MAIN)}"
    if specs:
        ir.write_text(json.dumps(pipeline, indent=2))


def forbid_in_worker() -> None:
    """Keeps a script that runs its pipeline wherever it is imported from doing so in each of its nodes' processes.

    Raises:
        UsageError: this is such a process.
    """
    if _main_name() in _NODE_PROCESSES:
        raise UsageError(
            "a pipeline cannot be run from inside a node; where a node only imported the script that defines it, "
            'put the call of the runner under `if __name__ == "__main__":`'
        )


def _script_module(class_path: str) -> str:
    """The name by which another process can import what is `__main__` here."""
    component = class_path.removeprefix(_MAIN).removesuffix("_Executor")
    file = getattr(sys.modules["__main__"], "__file__", None)
    if file is None or not Path(file).is_file():
        raise UsageError(
            f"component {component!r} is defined in a notebook or shell, where the processes that run nodes cannot "
            "import it; write it into a module (a .py file) and import it from there"
        )
    name = _main_name() or Path(file).stem
    found = modules.find(name)
    if found is None or not os.path.samefile(found, file):
        raise UsageError(
            f"component {component!r} is defined in {file}, which cannot be imported as {name!r}; "
            "write it into a module (a .py file beside) and import it from there"
        )
    return name


def _main_name() -> str | None:
    """What `python -m` was given; None for a script."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec else None
