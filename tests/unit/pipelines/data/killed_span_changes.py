"""Adds, removes and replaces spans, killed at every disk call in turn. A program of its own, because it forks.

Prints for each change how many disk calls it has. Exits with an error if a kill leaves anything but the old or the new
spans, or if the change cannot be repeated afterwards.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from benison.pipelines.config import Pipeline
from benison.pipelines.data import span_changes, spans

KILLED = 137
State = list[tuple[int, str]]


def pipeline(folder: Path) -> Pipeline:
    return Pipeline.model_validate(
        {
            "source": str(folder / "p.yaml"),
            "name": "p",
            "problem": "binary",
            "label": "late",
            "data": {"time": "t"},
            "spans": {},
            "features": "features.py",
            "models": "models.py",
            "ensemble": {"members": {"linear": {}}},
        }
    )


def state(root: Path) -> State:
    """Return each span that readers see with its content, which must be complete."""
    seen = []
    for span in spans.all_spans(root, "p"):
        (file,) = (spans.folder(root, "p") / str(span.number)).glob("*.csv")
        seen.append((span.number, file.read_text()))
    return seen


def killed_at(call: int, change: Callable[[], object]) -> bool:
    """Run a change in a child that is killed at a disk call; return True if it came that far."""
    child = os.fork()
    if not child:
        left = call

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            if event == "open" or event.startswith("os.") or event.startswith("shutil."):
                left -= 1
                if left < 0:
                    os._exit(KILLED)

        sys.addaudithook(count)
        change()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED


def kill_everywhere(name: str, folder: Path, change: Callable[[Path], object]) -> None:
    whole = folder / "whole"
    root = folder / "root"
    shutil.copytree(folder / "start", whole)
    before = state(whole)
    change(whole)
    after = state(whole)
    assert before != after
    calls = 0
    while True:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(folder / "start", root)
        if not killed_at(calls, lambda: change(root)):
            break
        left = state(root)
        assert left in (before, after), (name, calls, left)
        removed = {record.span.number for record in spans.removed_spans(root, "p")}
        assert left == before or removed == {r.span.number for r in spans.removed_spans(whole, "p")}, (name, calls)
        if left == before:
            change(root)
            assert state(root) == after, (name, calls)
        hidden = {path.name for path in spans.folder(root, "p").glob(".*")}
        assert not any(path.startswith(spans.REPLACING) for path in hidden), (name, calls, hidden)
        calls += 1
    assert state(root) == after
    shutil.rmtree(whole)
    print(name, calls)


def main(folder: Path) -> None:
    config = pipeline(folder)
    files = {number: folder / f"{number}.csv" for number in (1, 2, 3)}
    for number, file in files.items():
        file.write_text(f"t,late\n{number}1,yes\n{number}2,no\n")
    for number in (1, 2):
        span_changes.add(config, folder / "start", [files[number]])
    kill_everywhere("add", folder, lambda root: span_changes.add(config, root, [files[3]]))
    kill_everywhere("remove", folder, lambda root: span_changes.remove(root, "p", 1))
    kill_everywhere("replace", folder, lambda root: span_changes.replace(config, root, 2, [files[3]]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
