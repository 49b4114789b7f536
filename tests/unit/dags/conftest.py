"""Airflow's environment for the tests of dags/."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.dags.in_airflow import InAirflow, started


@pytest.fixture(scope="session")
def in_airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InAirflow]:
    """Start a process that runs Python code where dags/ can be imported."""
    with started(tmp_path_factory.mktemp("airflow-home")) as process:
        yield process
