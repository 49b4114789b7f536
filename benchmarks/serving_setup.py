"""The servers of the serving benchmark: their environments, programs and commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
PEERS = HERE / "serving_peers"
_PROTOBUF = "protobuf==6.33.6"  # KServe and MLServer need it; TensorFlow 2.16 runs with it although it requires < 5
_BASE = ("tensorflow==2.16.2", "numpy==1.26.4", "setuptools<81", "orjson==3.13.0", "uvloop==0.23.0", "httptools==0.9.0")
PINS: Mapping[str, tuple[str, ...]] = {
    "asgi": ("uvicorn==0.54.0",),
    "kserve": ("kserve==0.21.0",),
    "litserve": ("litserve==0.2.19",),
    "bentoml": ("bentoml==1.4.39",),
    "mlserver": ("mlserver==1.7.1",),
}
_KSERVE_GO = "v0.16.0"  # the newest Go module of KServe in the module proxy


@dataclass(frozen=True)
class Server:
    """One server to measure.

    Attributes:
        name: name in the table.
        commands: commands of its processes, in which `{port}` and `{inner}` stand for ports.
        path: path of the request.
        variant: A, C, or empty.
        form: form of the bodies: `v1` (TF Serving), `v2` (open inference protocol), `list` (response without a name),
            `constant` (any response).
        environment: environment variables of its processes.
        files: contents of files in its folder, by name.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    path: str
    variant: str = ""
    form: str = "v1"
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


def prepare(work: Path, uv: str, names: Sequence[str]) -> dict[str, str]:
    """Make the models, one environment per peer, and KServe's Go agent, unless they exist already.

    Args:
        work: folder for models and environments.
        uv: the uv command.
        names: names of the peers.

    Returns:
        The reasons why peers could not be installed, by name.
    """
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "models" / "ensemble").exists():
        subprocess.run([sys.executable, PEERS / "make_models.py", work / "models"], check=True)
    failed = {}
    for name in names:
        if not (work / name / "done").exists():
            failed |= _install(work / name, uv, PINS[name])
    if "kserve" in names and not (work / "agent").exists():
        failed |= _build_agent(work)
    return failed


def servers(work: Path, variant: str, names: Sequence[str]) -> list[Server]:
    """Return the peers of a variant."""
    environment = {
        "BENCHMARK_MODELS": str(work / "models"),
        "BENCHMARK_VARIANT": variant,
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(PEERS)]),
    }

    def python(name: str, *command: str) -> tuple[str, ...]:
        return (str(work / name / "bin" / "python"), *command)

    kserve = python(
        "kserve", str(PEERS / "kserve_app.py"), "--enable_latency_logging=false", "--configure_logging=false"
    )
    batcher = (str(work / "agent"), "--port={port}", "--component-port={inner}", "--enable-batcher")
    settings = {"debug": False, "parallel_workers": 0, "http_port": "{port}", "grpc_port": "{inner}"}
    settings |= {"metrics_endpoint": None, "host": "127.0.0.1"}
    model = {"name": "m", "implementation": "mlserver_app.Ensemble", "max_batch_size": 64, "max_batch_time": 0.001}
    servers_by_name = {
        "kserve": [
            Server("KServe", ((*kserve, "--http_port={port}"),), "/v1/models/m:predict", variant),
            Server(
                "KServe behind its Go batcher",
                ((*kserve, "--http_port={inner}"), (*batcher, "--max-batchsize=32", "--max-latency=1")),
                "/v1/models/m:predict",
                variant,
                environment={
                    "SERVING_LOGGING_LEVEL": "error",
                    "SERVING_READINESS_PROBE": '{"tcpSocket":{"port":{inner},"host":"127.0.0.1"}}',
                },
            ),
        ],
        "litserve": [
            Server("LitServe", (python("litserve", str(PEERS / "litserve_app.py"), "{port}"),), "/predict", variant)
        ],
        "bentoml": [
            Server(
                "BentoML",
                (
                    python(
                        "bentoml", "-m", "bentoml", "serve", "bentoml_app:Ensemble", "--host=127.0.0.1", "--port={port}"
                    ),
                ),
                "/predict",
                variant,
                "list",
                {"BENTOML_DO_NOT_TRACK": "1"},
            )
        ],
        "mlserver": [
            Server(
                "MLServer",
                (python("mlserver", "-m", "mlserver.cli.main", "start", "."),),
                "/v2/models/m/infer",
                variant,
                "v2",
                files={"settings.json": json.dumps(settings), "model-settings.json": json.dumps(model)},
            )
        ],
    }
    return [
        Server(**{**vars(server), "environment": {**environment, **server.environment}})
        for name in names
        for server in servers_by_name.get(name, [])
    ]


def benison_server(work: Path) -> Server:
    """Return Benison's own server."""
    flags = ("--port={inner}", "--rest_api_port={port}", "--model_name=m", f"--model_base_path={work}/models/ensemble")
    return Server(
        "benison-model-server",
        ((sys.executable, "-c", "from benison.serving.server.main import main; main()", *flags),),
        "/v1/models/m:predict",
        environment={"PYTHONPATH": str(HERE.parent)},
    )


def raw_asgi(work: Path) -> Server:
    """Return a raw ASGI handler without a model."""
    options = ("--loop=uvloop", "--http=httptools", "--no-access-log", "--log-level=warning", "--port={port}")
    return Server(
        "raw ASGI on uvicorn, no model",
        ((str(work / "asgi" / "bin" / "python"), "-m", "uvicorn", "asgi:app", *options),),
        "/v1/models/m:predict",
        form="constant",
        environment={"PYTHONPATH": str(PEERS)},
    )


def _install(folder: Path, uv: str, pins: Sequence[str]) -> dict[str, str]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    override = folder.with_suffix(".override")
    override.write_text(_PROTOBUF + "\n")
    python = str(folder / "bin" / "python")
    for command in (
        [uv, "venv", "-q", "--python", sys.executable, str(folder)],
        [uv, "pip", "install", "-q", "--python", python, "--override", str(override), *_BASE, *pins],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            return {folder.name: done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "failed"}
    (folder / "done").touch()
    return {}


def _build_agent(work: Path) -> dict[str, str]:
    """Build the agent in the folder of its module: `go install` asks the proxy for a list that it may refuse."""
    name = "kserve's Go batcher"
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        return {name: "Go is not installed"}
    module = f"github.com/kserve/kserve@{_KSERVE_GO}"
    download = subprocess.run([go, "mod", "download", "-json", module], capture_output=True, text=True, cwd=work)
    if download.returncode:
        return {name: download.stdout[-300:] + download.stderr[-300:]}
    build = subprocess.run(
        [go, "build", "-o", str(work / "agent"), "./cmd/agent"],
        cwd=json.loads(download.stdout)["Dir"],
        env={**os.environ, "GOFLAGS": "-mod=mod"},
        capture_output=True,
        text=True,
    )
    return {name: build.stderr[-300:]} if build.returncode else {}
