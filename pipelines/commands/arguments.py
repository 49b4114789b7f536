"""Arguments and options that several commands share, and the functions that resolve them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from benison.pipelines.config import Pipeline
    from benison.serving.deploy.settings import Serving

Name = Annotated[str, typer.Argument(metavar="NAME", help="A pipeline's name, or the path of its YAML file.")]


def _checked(root: Path) -> Path:
    from benison.serving.files import patterns

    patterns.check_root(root)
    return root


Root = Annotated[
    Path,
    typer.Option(
        "--root",
        metavar="FOLDER",
        envvar="BENISON_ROOT",
        help="The folder of artifacts, runs and pushed versions.",
        callback=_checked,
    ),
]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the YAML; repeatable.")
]
ConfigOnly = Annotated[bool, typer.Option("--config-only", help="Do not import the Python code and build the members.")]
DEFAULT_ROOT = Path(".benison")


def load(name: str, sets: list[str] | None, check_data: bool = True) -> Pipeline:
    """Load a pipeline's config, with the `--set` options applied.

    Args:
        name: a pipeline's name, or the path of its YAML file.
        sets: `KEY=VALUE` each.
        check_data: report a missing CSV file as a mistake.

    Raises:
        UsageError: a `--set` has no value, or the config is missing or wrong.
    """
    from benison.pipelines import config_file

    return config_file.load(name, pairs(sets), check_data=check_data)


def pairs(sets: list[str] | None) -> dict[str, str]:
    """Return the values of the `--set` options, by key.

    Raises:
        UsageError: an option has no value.
    """
    from benison.serving.errors import UsageError

    for pair in sets or []:
        if "=" not in pair:
            raise UsageError(f"--set {pair}: expected KEY=VALUE, such as --set ensemble.members.deep.epochs=5")
    return dict(pair.split("=", 1) for pair in sets or [])


def served_name(name: str) -> str:
    """Return the name under which versions are pushed; read the config only if `name` is a file.

    Raises:
        UsageError: the file is missing or wrong.
    """
    if not name.endswith((".yaml", ".yml")):
        return name
    return load(name, None, check_data=False).name


def serving_settings(name: str) -> Serving | None:
    """Return `serving:` of a pipeline's YAML; None where there is no YAML, as on a machine that only serves.

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
