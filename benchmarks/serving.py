"""The model server beside its peers: throughput, latency and memory with the same models and the same request.

    python -m benchmarks.serving --work DIR [--peers kserve,litserve,bentoml,mlserver] [--repeats 3] [--seconds 3]

Servers run on one core, the load generator (wrk, closed loop) on another. Every server is asked in turn, `repeats`
times; those that are not asked are stopped meanwhile. Every server's answer is compared with ours first. Each peer's
own batching is on. Variant A is three signature calls and a mean, as its users would write it; in variant C the peer is
given our fused model with packed inputs. The first run with a DIR makes the models and one environment per peer (by uv,
and by Go for KServe's batcher). Prints tables in Markdown.
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

CONNECTIONS = (1, 8, 64)
VARIANTS = {"A": 4.0, "C": 2.5}  # and how many times the best peer's throughput is demanded
_SERVER_CORE, _LOAD_CORE = 0, 1
_UP_SECONDS = 180
_TOLERANCE = 1e-4
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
ROW = {
    **{f"n{index:02d}": round((index * 37 % 100) / 25 - 2, 4) for index in range(20)},
    **{f"s{index}": f"word{(index * 7 + 3) % 22}" for index in range(5)},
}


@dataclass(frozen=True)
class Load:
    """What one run of the load generator saw.

    Attributes:
        rate: requests per second.
        p50: latency (milliseconds).
        p99: the same.
        wrong: answers with another status than 2xx, and broken connections.
    """

    rate: float
    p50: float
    p99: float
    wrong: int


@dataclass
class Running:
    """A server that is up, and what was measured of it."""

    server: Server
    port: int
    processes: list[subprocess.Popen[bytes]]
    loads: dict[int, list[Load]]
    memory: float = 0.0


def main() -> None:
    """Prepares, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, required=True, help="folder for models and environments; they are kept")
    parser.add_argument("--peers", default="kserve,litserve,bentoml,mlserver", help="names, with commas between")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--seconds", type=int, default=3, help="of each run of the load generator; wrk takes whole ones"
    )
    parser.add_argument("--uv", default="uv")
    parser.add_argument("--prepare", action="store_true", help="only make what is needed")
    given = parser.parse_args()
    work, names = given.work.absolute(), [name for name in given.peers.split(",") if name]
    failed = serving_setup.prepare(work, given.uv, ["asgi", *names])
    if given.prepare:
        print(json.dumps(failed, indent=2))
        return
    print(_machine(given.repeats, given.seconds))
    for variant in VARIANTS:
        servers = [serving_setup.ours(work), serving_setup.raw_asgi(work)]
        running = _one_variant([*servers, *serving_setup.servers(work, variant, names)], work, given, failed)
        print(f"Variant {variant}:\n")
        print(_table(running))
        print(_bars(running, variant, _bare_call(work)), flush=True)
    for name, why in failed.items():
        print(f"- not measured: {name}: {why}")


def _one_variant(
    servers: Sequence[Server], work: Path, given: argparse.Namespace, failed: dict[str, str]
) -> list[Running]:
    """Starts the servers, measures them in turn and stops them: KServe's agent can run only once at a time."""
    running: list[Running] = []
    with contextlib.ExitStack() as stack:
        for server in servers:
            try:
                running.append(_start(stack, server, work))
            except RuntimeError as error:
                if not server.variant:
                    raise  # ours, or the empty handler: there is nothing to compare with
                failed[f"{server.name} {server.variant}".strip()] = str(error)
        _check(running, failed)
        for _ in range(given.repeats):
            for one in running:
                _measure(one, work, given.seconds)
    return running


def _start(stack: contextlib.ExitStack, server: Server, work: Path) -> Running:
    """Starts a server and waits until it answers; it ends with the stack.

    Raises:
        RuntimeError: it does not answer.
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
    until = time.monotonic() + _UP_SECONDS
    while True:
        try:
            _answer(running)
            break
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
        ) as error:  # the Go batcher answers null until its backend is up
            problem = error
        if time.monotonic() > until or any(process.poll() is not None for process in processes):
            raise RuntimeError(f"does not answer ({problem}); see {folder / 'log'}")
        time.sleep(0.5)
    _signal(running, signal.SIGSTOP)
    return running


def _check(running: list[Running], failed: dict[str, str]) -> None:
    """Leaves out who answers otherwise than the first."""
    with _awake(running[0]):
        expected = _answer(running[0])
    for one in list(running[1:]):
        with _awake(one):
            got = _answer(one)
        if one.server.form != "constant" and any(abs(a - b) > _TOLERANCE for a, b in zip(got, expected, strict=True)):
            failed[f"{one.server.name} {one.server.variant}"] = f"answers {got}, expected {expected}"
            running.remove(one)


def _measure(one: Running, work: Path, seconds: int) -> None:
    script = work / "run" / f"{one.port}.lua"
    body = _body(one.server)
    script.write_text(f'wrk.method="POST"\nwrk.headers["Content-Type"]="application/json"\nwrk.body=[[{body}]]\n')
    with _awake(one):
        _load(one, script, 8, 1)  # what is asked first may be slower
        for count in CONNECTIONS:
            one.loads[count].append(_load(one, script, count, seconds))
        one.memory = max(one.memory, _memory(one.processes))


def _load(one: Running, script: Path, connections: int, seconds: int) -> Load:
    command = ["taskset", "-c", str(_LOAD_CORE), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    url = f"http://127.0.0.1:{one.port}{one.server.path}"
    seen = subprocess.run([*command, "-s", str(script), url], capture_output=True, text=True, check=True).stdout
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", seen)
    other = re.search(r"Non-2xx or 3xx responses: (\d+)", seen)
    return Load(
        rate=float(_found(r"Requests/sec:\s+([\d.]+)", seen)),
        p50=_milliseconds(_found(r"^ +50% +(\S+)", seen)),
        p99=_milliseconds(_found(r"^ +99% +(\S+)", seen)),
        wrong=(int(other[1]) if other else 0) + (sum(map(int, errors.groups())) if errors else 0),
    )


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    if not match:
        raise SystemExit(f"wrk printed something else:\n{text}")
    return match[1]


def _milliseconds(text: str) -> float:
    match = re.fullmatch(r"([\d.]+)(\w+)", text)
    return float(match[1]) * _UNITS[match[2]] if match else float("inf")  # no answer at all


def _answer(one: Running) -> list[float]:
    """The probabilities that a server answers."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{one.port}{one.server.path}",
        data=_body(one.server).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        answer = json.loads(response.read())
    if one.server.form == "v2":
        return list(answer["outputs"][0]["data"])
    return list((answer if one.server.form == "list" else answer["predictions"])[0])


def _body(server: Server) -> str:
    if server.form != "v2":
        return json.dumps({"instances": [ROW]})
    inputs: list[dict[str, Any]] = [
        {"name": name, "shape": [1], "datatype": "BYTES" if isinstance(value, str) else "FP32", "data": [value]}
        for name, value in ROW.items()
    ]
    return json.dumps({"inputs": inputs})


def _bare_call(work: Path) -> dict[str, float]:
    """The TensorFlow call alone: p50 and p99 (milliseconds)."""
    command = ["taskset", "-c", str(_SERVER_CORE), sys.executable, str(PEERS / "bare_call.py"), str(work / "models")]
    environment = {**os.environ, "PYTHONPATH": str(PEERS.parent.parent), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return dict(json.loads(done.stdout.splitlines()[-1]))


# --- processes --------------------------------------------------------------------------------------------------------


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _awake(one: Running) -> Iterator[None]:
    _signal(one, signal.SIGCONT)
    try:
        yield
    finally:
        _signal(one, signal.SIGSTOP)


def _signal(one: Running, number: int) -> None:
    for process in _family(one.processes):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _kill(process: subprocess.Popen[bytes]) -> None:
    for one in _family([process]):
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()


def _family(processes: Sequence[subprocess.Popen[bytes]]) -> list[psutil.Process]:
    """Processes with their children, some of which lead sessions of their own."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(process.pid)
            found += [parent, *parent.children(recursive=True)]
    return found


def _memory(processes: Sequence[subprocess.Popen[bytes]]) -> float:
    """The proportional set size of all processes (MB)."""
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
        "ours / it at 64",
        "MB",
    ]
    rows = []
    for one in running:
        cells = [_cell(one.loads[count]) for count in CONNECTIONS]
        ratio = "" if one is first else _ratio(first, one, 64)
        rows.append([one.server.name, *cells, ratio, f"{one.memory:.0f}"])
    return _markdown([header, ["---"] * len(header), *rows])


def _cell(loads: Sequence[Load]) -> str:
    wrong = sum(load.wrong for load in loads)
    figures = [statistics.median(getattr(load, name) for load in loads) for name in ("rate", "p50", "p99")]
    return f"{figures[0]:,.0f}, {figures[1]:.2f}, {figures[2]:.2f}" + (f" ({wrong} failed)" if wrong else "")


def _ratios(a: Running, b: Running, connections: int) -> list[float]:
    """Run by run, so that what slowed the machine slowed both."""
    return sorted(x.rate / y.rate for x, y in zip(a.loads[connections], b.loads[connections], strict=True))


def _ratio(a: Running, b: Running, connections: int) -> str:
    ratios = _ratios(a, b, connections)
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"


def _bars(running: Sequence[Running], variant: str, bare: dict[str, float]) -> str:
    """What was demanded, and what came out."""
    first, asgi, *peers = running
    lines = []
    if peers:
        best = max(peers, key=lambda one: statistics.median(load.rate for load in one.loads[64]))
        lines.append(f"- 64 connections: {_ratio(first, best, 64)} x {best.server.name}; bar {VARIANTS[variant]}")
    lines.append(f"- raw ASGI, 64 connections: {_ratio(first, asgi, 64)} of it; bar 0.80")
    ours = statistics.median(load.p99 for load in first.loads[1])
    empty = statistics.median(load.p99 for load in asgi.loads[1])
    allowed = 2 * (bare["p99"] + empty)
    parts = f"TensorFlow call {bare['p99']:.2f} + raw ASGI {empty:.2f}"
    lines.append(f"- 1 connection, p99: {ours:.2f} ms; bar {allowed:.2f} = 2 x ({parts})")
    return "\n".join(lines) + "\n"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


if __name__ == "__main__":
    main()
