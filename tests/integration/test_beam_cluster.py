"""Beam's work handed to a job server, as a cluster has one: `beam:` in the YAML is all that changes."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.conftest import make


@dataclass(frozen=True)
class JobServer:
    port: int
    log: Path

    def jobs_done(self) -> int:
        return len(re.findall("Completed job .* with state DONE", self.log.read_text()))


@pytest.fixture
def job_server(tmp_path: Path) -> Iterator[JobServer]:
    """Beam's own, in Python; Flink's and Spark's speak the same protocol."""
    port_file, log = tmp_path / "port", tmp_path / "jobs.log"
    command = [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main"]
    with log.open("w") as file:
        server = subprocess.Popen([*command, "--port", "0", "--port_file", str(port_file)], stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + 120
        while not (port_file.is_file() and port_file.read_text()):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the job server did not start"
            time.sleep(0.1)
        yield JobServer(int(port_file.read_text()), log)
    finally:
        server.terminate()
        server.wait(30)


def test_nodes_that_use_beam_run_where_the_yaml_says(tmp_path: Path, job_server: JobServer) -> None:
    project = make(tmp_path / "project")
    yaml = project.folder / "birds.yaml"
    arguments = [
        "--runner=PortableRunner",
        f"--job_endpoint=localhost:{job_server.port}",
        "--environment_type=LOOPBACK",
    ]
    yaml.write_text(f"{yaml.read_text()}beam: [{', '.join(arguments)}]\n")

    done = project.benison("schema", "birds.yaml")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "bill_length_mm" in done.stdout
    assert job_server.jobs_done() == 1  # StatisticsGen's; the others before the gate need no Beam
