"""What several commands take, and what they make of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from benison.pipelines.config import Pipeline
    from benison.serving.deploy.settings import Serving

Name = Annotated[str, typer.Argument(help="A pipeline's name, or the path of its YAML file.")]
Root = Annotated[
    Path, typer.Option("--root", envvar="BENISON_ROOT", help="Where artifacts, runs and pushed versions are kept.")
]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="key=value", help="Overrides a key of the YAML; repeatable.")
]
DEFAULT_ROOT = Path(".benison")


def load(name: str, sets: list[str] | None, check_data: bool = True) -> Pipeline:
    """The pipeline that is meant, with `--set` applied.

    Args:
        name: a pipeline's name, or the path of its YAML file.
        sets: `key=value` each.
        check_data: whether a missing CSV file is a mistake.

    Raises:
        UsageError: a `--set` without a value, or the config is not there or wrong.
    """
    from benison.pipelines import config_file

    return config_file.load(name, pairs(sets), check_data=check_data)


def pairs(sets: list[str] | None) -> dict[str, str]:
    """What `--set` was given, by key.

    Raises:
        UsageError: one has no value.
    """
    from benison.serving.errors import UsageError

    for given in sets or []:
        if "=" not in given:
            raise UsageError(f"--set {given}: expected key=value, such as --set ensemble.members.deep.epochs=5")
    return dict(given.split("=", 1) for given in sets or [])


def served_name(name: str) -> str:
    """The name under which versions are pushed; the config is needed only where its file was given.

    Raises:
        UsageError: the file is not there or wrong.
    """
    if not name.endswith((".yaml", ".yml")):
        return name
    return load(name, None, check_data=False).name


def serving_settings(name: str) -> Serving | None:
    """`serving:` of a pipeline's YAML; None where no YAML of it is here, as on a machine that only serves.

    Raises:
        UsageError: the YAML is wrong.
    """
    from benison.pipelines import config_file
    from benison.serving.errors import UsageError

    try:
        config_file.find(name)
    except UsageError:
        return None
    return load(name, None, check_data=False).serving
