"""`benison tensorboard` and `benison track`: the losses of members and trials, and what trackers have missed."""

from __future__ import annotations

from typing import Annotated

import typer

from benison.pipelines.commands.arguments import DEFAULT_ROOT, Name, Root, load, served_name
from benison.pipelines.commands.output import print_warnings

_REFRESH_S = 5.0


def tensorboard(
    name: Name,
    run: Annotated[
        str | None, typer.Option("--run", metavar="RUN", help="Only this run; default: all runs of the pipeline.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65535, metavar="PORT", help="Default: 6006, or the next free one."),
    ] = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Start TensorBoard on this machine, with the losses of all members and trials, until Ctrl-C."""
    import os
    import subprocess
    import sys
    import tempfile
    from importlib.util import find_spec
    from pathlib import Path

    from benison.pipelines.running import termination
    from benison.pipelines.tracking import event_folders
    from benison.serving.errors import UsageError

    if find_spec("tensorboard") is None:
        raise UsageError("TensorBoard is not installed here: pip install tensorboard")
    termination.interrupt_on_signals()
    root, name = root.absolute(), served_name(name)
    chosen = event_folders.choose(root, name, run)
    with tempfile.TemporaryDirectory(prefix="benison-tensorboard-") as made:
        folder = Path(made)
        command = [sys.executable, "-m", "tensorboard.main", "--logdir", made, "--host", "127.0.0.1"]
        command += ["--port", str(port)] if port is not None else []
        event_folders.link(chosen, folder, cached=run is not None)
        environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}
        with subprocess.Popen(command, env=environment) as process:
            try:
                while True:
                    try:
                        raise typer.Exit(process.wait(_REFRESH_S))
                    except subprocess.TimeoutExpired:  # runs that have ended meanwhile appear
                        event_folders.link(event_folders.choose(root, name, run), folder, cached=run is not None)
            except KeyboardInterrupt:
                process.terminate()


def track(name: Name, root: Root = DEFAULT_ROOT) -> None:
    """Send to the trackers of a pipeline what they have missed, because they were down."""
    from benison.pipelines.tracking import sending
    from benison.serving.errors import UsageError

    config = load(name, None, check_data=False)
    if not sending.trackers(config):
        raise UsageError(f"{name}: there is no tracker in its YAML; write, for example, tracking: {{mlflow: URI}}")
    sent = sending.send(root.absolute(), config)
    print(f"{sent.count} event{'' if sent.count == 1 else 's'} sent")
    print_warnings(sent)
    raise typer.Exit(1 if sent.warnings else 0)
