"""`benison card`: the model card of a version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benison.pipelines.commands.arguments import DEFAULT_ROOT, Root, served_name
from benison.pipelines.commands.versions import served_version

if TYPE_CHECKING:
    from benison.serving.versions.local import Version


def card(
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="NAME for its served version, NAME/VERSION, or a version's number."),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write the card to this file.")
    ] = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Print the model card of a version: data, purpose, metrics by slice and limits, in Markdown.

    It is made from the version's manifest, so versions that an older release pushed have one too.
    """
    from benison.serving.files import atomic_file
    from benison.serving.versions import card as model_card

    version = _version(root.absolute() / "serving", target)
    text = model_card.render(version.manifest, version.number)
    if output is None:
        print(text, end="")
        return
    atomic_file.write(output, text)
    print(f"{version.path.parent.name} {version.number}: {output}")


def _version(serving: Path, target: str) -> Version:
    """Return the version that a target names.

    Raises:
        VersionError: There is no such version, or several models have one of this number.
    """
    from benison.serving.errors import VersionError
    from benison.serving.versions import local

    name, _, number = target.rpartition("/")
    if not (number.isascii() and number.isdigit()) or target.endswith((".yaml", ".yml")):
        return served_version(serving / served_name(target), verify=False)
    if name:
        return local.get(serving / name, int(number))
    bases = sorted(path for path in serving.glob("*") if path.is_dir())
    found = [version for base in bases if (version := local.find(base, int(number))) is not None]
    if len(found) != 1:
        names = ", ".join(f"{version.path.parent.name}/{number}" for version in found)
        several = f"several models have a version {number}: {names}; name one of them"
        raise VersionError(several if found else f"{serving}: no model has a version {number}; `benison versions NAME`")
    return found[0]
