"""`benison prune`: remove versions and artifacts that nothing needs."""

from __future__ import annotations

from typing import Annotated

import typer

from benison.pipelines.commands.arguments import DEFAULT_ROOT, Name, Root, serving_settings
from benison.pipelines.commands.versions import pushed_base


def prune(
    name: Name,
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep",
            min=1,
            metavar="NUMBER",
            help="How many of the newest versions to keep; default: serving.keep of the YAML.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be removed.")] = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Remove old versions, and artifacts that neither a kept version nor the last run needs."""
    from benison.pipelines.quiet import quieten
    from benison.pipelines.records import pruning
    from benison.pipelines.records.sizes import format_size
    from benison.pipelines.reports import index_page
    from benison.serving.deploy.settings import Serving

    quieten()  # pruning opens ML Metadata through TFX
    base = pushed_base(name, root)
    root = root.absolute()
    settings = serving_settings(name) or Serving()
    count = keep if keep is not None else settings.keep
    pruned = (
        pruning.find_prunable(root, base.name, count)
        if dry_run
        else pruning.remove(root, base.name, count, settings.store)
    )
    if not dry_run:
        index_page.refresh(root)
    for version in pruned.versions:
        print(f"version {version.number} of {version.path.parent.name}  {format_size(pruned.sizes[version.path])}")
    for path in pruned.artifacts:
        print(f"artifact {path.relative_to(root / 'artifacts')}  {format_size(pruned.sizes[path])}")
    if settings.store and pruned.versions:
        print(f"these versions {'would be' if dry_run else 'were'} removed from {settings.store} too")
    freed = f"{format_size(sum(pruned.sizes.values()))} {'would be freed' if dry_run else 'freed'}"
    print(f"versions: {len(pruned.versions)}, artifacts: {len(pruned.artifacts)}; {freed}")
