"""Compare the model server with its peers: throughput, latency and memory with the same models and the same request.

    python -m benchmarks.serving --work DIR [--peers kserve,litserve,bentoml,mlserver] [--repeats 3] [--seconds 3]

Servers run on one core, the load generator (wrk, closed loop) on another. The servers are measured in turn, `repeats`
times; the other servers are paused meanwhile. First, the answer of every server is compared with that of Benison. Each
peer's own batching is on. In variant A the peer calls three signatures and takes the mean, as its users would write it.
In variant C the peer gets Benison's fused model with packed inputs. The first run with a DIR makes the models and one
environment per peer (with uv, and with Go for KServe's batcher). It prints tables in Markdown.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks import serving_setup
from benchmarks.serving_setup import PEERS, PINS, Server
from benchmarks.uv_command import find_uv

CONNECTIONS = (1, 8, 64)
VARIANTS = {"A": 4.0, "C": 2.5}  # the goal: throughput relative to the best peer
_SERVER_CORE, _LOAD_CORE = 0, 1
_START_SECONDS = 180
_TOLERANCE = 1e-4
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
ROW = {
    **{f"n{index:02d}": round((index * 37 % 100) / 25 - 2, 4) for index in range(20)},
    **{f"s{index}": f"word{(index * 7 + 3) % 22}" for index in range(5)},
}


@dataclass(frozen=True)
class Load:
    """The result of one run of the load generator.

    Attributes:
        rate: requests per second.
        p50: median latency (milliseconds).
        p99: 99th percentile of the latency (milliseconds).
        failures: responses without a 2xx status, and broken connections.
    """

    rate: float
    p50: float
    p99: float
    failures: int


@dataclass
class Running:
    """A running server and its measurements."""

    server: Server
    port: int
    processes: list[subprocess.Popen[bytes]]
    loads: dict[int, list[Load]]
    memory: float = 0.0


def main() -> None:
    """Prepare the peers, measure them and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, required=True, help="folder for models and environments, which are kept")
    parser.add_argument(
        "--peers", default="kserve,litserve,bentoml,mlserver", help="names, separated by commas (default: %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="runs per server (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=3, help="whole seconds per run of wrk (default: %(default)s)")
    parser.add_argument("--uv", help="uv command (default: the one on PATH, else the one of `make setup`)")
    parser.add_argument("--prepare", action="store_true", help="only make models and environments")
    arguments = parser.parse_args()
    work, names = arguments.work.absolute(), [name for name in arguments.peers.split(",") if name]
    failed = serving_setup.prepare(work, arguments.uv or find_uv(), ["asgi", *names])
    if arguments.prepare:
        print(json.dumps(failed, indent=2))
        return
    print(_machine(arguments.repeats, arguments.seconds))
    for variant in VARIANTS:
        servers = [serving_setup.benison_server(work), serving_setup.raw_asgi(work)]
        running = _one_variant([*servers, *serving_setup.servers(work, variant, names)], work, arguments, failed)
        print(f"Variant {variant}:\n")
        print(_table(running))
        print(_bars(running, variant, _bare_call(work)), flush=True)
    print(_trees(json.loads(_alone("trees_call.py"))), flush=True)
    for name, reason in failed.items():
        print(f"- not measured: {name}: {reason}")


def _one_variant(
    servers: Sequence[Server], work: Path, arguments: argparse.Namespace, failed: dict[str, str]
) -> list[Running]:
    """Start the servers, measure them in turn and stop them. Per variant, because KServe's agent can run only once."""
    running: list[Running] = []
    with contextlib.ExitStack() as stack:
        for server in servers:
            try:
                running.append(_start(stack, server, work))
            except RuntimeError as error:
                if not server.variant:
                    raise  # without Benison or raw ASGI there is nothing to compare with
                failed[f"{server.name} {server.variant}".strip()] = str(error)
        _check(running, failed)
        for _ in range(arguments.repeats):
            for server in running:
                _measure(server, work, arguments.seconds)
    return running


def _start(stack: contextlib.ExitStack, server: Server, work: Path) -> Running:
    """Start a server and wait until it answers; the stack stops it.

    Raises:
        RuntimeError: the server does not answer.
    """
    port, inner = _free_port(), _free_port()
    folder = work / "run" / re.sub(r"\W+", "-", f"{server.name} {server.variant}")
    folder.mkdir(parents=True, exist_ok=True)

    def filled(text: str) -> str:
        return text.replace("{port}", str(port)).replace("{inner}", str(inner))

    for name, text in server.files.items():
        (folder / name).write_text(filled(text).replace(f'"{port}"', str(port)).replace(f'"{inner}"', str(inner)))
    environment = {name: filled(value) for name, value in server.environment.items()}
    log = stack.enter_context((folder / "log").open("wb"))
    processes: list[subprocess.Popen[bytes]] = []
    for command in server.commands:
        process = subprocess.Popen(
            ["taskset", "-c", str(_SERVER_CORE), *map(filled, command)],
            cwd=folder,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        processes.append(process)
        stack.callback(_kill, process)
    running = Running(server, port, processes, {count: [] for count in CONNECTIONS})
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            _answer(running)
            break
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
        ) as error:  # the Go batcher answers null until its backend has started
            problem = error
        if time.monotonic() > deadline or any(process.poll() is not None for process in processes):
            raise RuntimeError(f"does not answer ({problem}); see {folder / 'log'}")
        time.sleep(0.5)
    _signal(running, signal.SIGSTOP)
    return running


def _check(running: list[Running], failed: dict[str, str]) -> None:
    """Remove the servers whose answer differs from that of the first one."""
    with _resumed(running[0]):
        expected = _answer(running[0])
    for peer in list(running[1:]):
        with _resumed(peer):
            answer = _answer(peer)
        if peer.server.form != "constant" and any(
            abs(a - b) > _TOLERANCE for a, b in zip(answer, expected, strict=True)
        ):
            failed[f"{peer.server.name} {peer.server.variant}"] = f"answers {answer}, expected {expected}"
            running.remove(peer)


def _measure(running: Running, work: Path, seconds: int) -> None:
    script = work / "run" / f"{running.port}.lua"
    body = _body(running.server)
    script.write_text(f'wrk.method="POST"\nwrk.headers["Content-Type"]="application/json"\nwrk.body=[[{body}]]\n')
    with _resumed(running):
        _load(running, script, 8, 1)  # warm up: the first requests may be slower
        for count in CONNECTIONS:
            running.loads[count].append(_load(running, script, count, seconds))
        running.memory = max(running.memory, _memory(running.processes))


def _load(running: Running, script: Path, connections: int, seconds: int) -> Load:
    command = ["taskset", "-c", str(_LOAD_CORE), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    url = f"http://127.0.0.1:{running.port}{running.server.path}"
    output = subprocess.run([*command, "-s", str(script), url], capture_output=True, text=True, check=True).stdout
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    other = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    return Load(
        rate=float(_match(r"Requests/sec:\s+([\d.]+)", output)),
        p50=_milliseconds(_match(r"^ +50% +(\S+)", output)),
        p99=_milliseconds(_match(r"^ +99% +(\S+)", output)),
        failures=(int(other[1]) if other else 0) + (sum(map(int, errors.groups())) if errors else 0),
    )


def _match(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    if not match:
        raise SystemExit(f"the output of wrk does not match {pattern!r}:\n{text}")
    return match[1]


def _milliseconds(text: str) -> float:
    match = re.fullmatch(r"([\d.]+)(\w+)", text)
    return float(match[1]) * _UNITS[match[2]] if match else float("inf")  # no response at all


def _answer(running: Running) -> list[float]:
    """Send the request to a server and return its probabilities."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{running.port}{running.server.path}",
        data=_body(running.server).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        answer = json.loads(response.read())
    if running.server.form == "v2":
        return list(answer["outputs"][0]["data"])
    return list((answer if running.server.form == "list" else answer["predictions"])[0])


def _body(server: Server) -> str:
    if server.form != "v2":
        return json.dumps({"instances": [ROW]})
    inputs: list[dict[str, Any]] = [
        {"name": name, "shape": [1], "datatype": "BYTES" if isinstance(value, str) else "FP32", "data": [value]}
        for name, value in ROW.items()
    ]
    return json.dumps({"inputs": inputs})


def _bare_call(work: Path) -> dict[str, float]:
    """Measure the TensorFlow call alone; return p50 and p99 (milliseconds)."""
    return dict(json.loads(_alone("bare_call.py", str(work / "models"))))


def _alone(script: str, *arguments: str) -> str:
    """Run a script on the server's core; return its last line."""
    command = ["taskset", "-c", str(_SERVER_CORE), sys.executable, str(PEERS / script), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(PEERS.parent.parent), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return done.stdout.splitlines()[-1]


# --- processes --------------------------------------------------------------------------------------------------------


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _resumed(running: Running) -> Iterator[None]:
    _signal(running, signal.SIGCONT)
    try:
        yield
    finally:
        _signal(running, signal.SIGSTOP)


def _signal(running: Running, number: int) -> None:
    for process in _family(running.processes):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _kill(process: subprocess.Popen[bytes]) -> None:
    for member in _family([process]):
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


def _family(processes: Sequence[subprocess.Popen[bytes]]) -> list[psutil.Process]:
    """Return processes with their children, some of which have their own sessions."""
    family = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(process.pid)
            family += [parent, *parent.children(recursive=True)]
    return family


def _memory(processes: Sequence[subprocess.Popen[bytes]]) -> float:
    """Return the proportional set size of all processes (MB)."""
    total = 0
    for process in _family(processes):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().pss
    return total / 1e6


# --- tables -----------------------------------------------------------------------------------------------------------


def _machine(repeats: int, seconds: int) -> str:
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    versions = ", ".join(pin.replace("==", " ") for name in PINS for pin in PINS[name])
    return (
        f"{model.partition(':')[2].strip() or 'unknown processor'}, {os.cpu_count()} cores, Python "
        f"{sys.version.split()[0]}; server on one core, wrk on another; median of {repeats} runs of {seconds} s each "
        f"(in brackets: the lowest and the highest ratio of a run). {versions}.\n"
    )


def _table(running: Sequence[Running]) -> str:
    first = running[0]
    header = [
        "server",
        *(f"{count}: req/s, p50, p99 (ms)" for count in CONNECTIONS),
        "Benison / it at 64",
        "MB",
    ]
    rows = []
    for peer in running:
        cells = [_cell(peer.loads[count]) for count in CONNECTIONS]
        ratio = "" if peer is first else _ratio(first, peer, 64)
        rows.append([peer.server.name, *cells, ratio, f"{peer.memory:.0f}"])
    return _markdown([header, ["---"] * len(header), *rows])


def _cell(loads: Sequence[Load]) -> str:
    failures = sum(load.failures for load in loads)
    figures = [statistics.median(getattr(load, name) for load in loads) for name in ("rate", "p50", "p99")]
    return f"{figures[0]:,.0f}, {figures[1]:.2f}, {figures[2]:.2f}" + (f" ({failures} failed)" if failures else "")


def _ratios(a: Running, b: Running, connections: int) -> list[float]:
    """Return the ratios per repeat, so that a slow phase of the machine affects both servers."""
    return sorted(x.rate / y.rate for x, y in zip(a.loads[connections], b.loads[connections], strict=True))


def _ratio(a: Running, b: Running, connections: int) -> str:
    ratios = _ratios(a, b, connections)
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"


def _bars(running: Sequence[Running], variant: str, bare: dict[str, float]) -> str:
    """Return the results with the goals that they must reach."""
    first, asgi, *peers = running
    lines = []
    if peers:
        best = max(peers, key=lambda peer: statistics.median(load.rate for load in peer.loads[64]))
        lines.append(f"- 64 connections: {_ratio(first, best, 64)} x {best.server.name}; bar {VARIANTS[variant]}")
    lines.append(f"- raw ASGI, 64 connections: {_ratio(first, asgi, 64)} of it; bar 0.80")
    p99 = statistics.median(load.p99 for load in first.loads[1])
    asgi_p99 = statistics.median(load.p99 for load in asgi.loads[1])
    allowed = 2 * (bare["p99"] + asgi_p99)
    parts = f"TensorFlow call {bare['p99']:.2f} + raw ASGI {asgi_p99:.2f}"
    lines.append(f"- 1 connection, p99: {p99:.2f} ms; bar {allowed:.2f} = 2 x ({parts})")
    return "\n".join(lines) + "\n"


def _trees(facts: dict[str, Any]) -> str:
    """Return a table of the time that trees take as TensorFlow operations, by the number of rows."""
    times = {rows: time for rows, time in facts.items() if isinstance(time, dict)}
    cells = [f"{time['p50']} ms (least {time['least']}; bar {time['bar']})" for time in times.values()]
    title = f"{facts['trees']} trees of depth 6, {facts['conditions']} conditions, one thread, without a server"
    return _markdown([[title, *(f"{rows} rows" for rows in times)], ["---"] * (1 + len(cells)), ["p50", *cells]])


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


if __name__ == "__main__":
    main()
