"""`benison prune`: what nobody needs any longer goes."""

from __future__ import annotations

from typing import Annotated

import typer

from benison.pipelines.commands.arguments import DEFAULT_ROOT, Name, Root, serving_settings
from benison.pipelines.commands.versions import pushed_base


def prune(
    name: Name,
    keep: Annotated[
        int | None,
        typer.Option("--keep", min=1, help="How many of the newest versions stay; default: serving.keep of the YAML."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Removes old versions, and artifacts that neither a version that stays nor the last run needs."""
    from benison.pipelines.quiet import quieten
    from benison.pipelines.records import pruning
    from benison.pipelines.records.sizes import readable
    from benison.serving.deploy.settings import Serving

    quieten()  # ML Metadata is told by TFX
    base = pushed_base(name, root)
    root = root.absolute()
    settings = serving_settings(name) or Serving()
    count = keep if keep is not None else settings.keep
    found = pruning.waste(root, base.name, count) if dry_run else pruning.remove(root, base.name, count, settings.store)
    for version in found.versions:
        print(f"version {version.number} of {version.path.parent.name}  {readable(found.sizes[version.path])}")
    for path in found.artifacts:
        print(f"artifact {path.relative_to(root / 'artifacts')}  {readable(found.sizes[path])}")
    done = "would be freed" if dry_run else "freed"
    freed = readable(sum(found.sizes.values()))
    if settings.store and found.versions:
        print(f"these versions {'would go' if dry_run else 'are gone'} from {settings.store}, too")
    print(f"versions: {len(found.versions)}, artifacts: {len(found.artifacts)}; {freed} {done}")
