"""Promotions and rollbacks as a real server under load sees them. `-m soak` has the full counts."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benison.serving import models_config
from benison.serving.errors import VersionError
from benison.serving.promotion import history, labels
from benison.serving.promotion import promote as promotion
from benison.serving.promotion.history import Change
from benison.serving.promotion.labels import ServedVersions
from benison.serving.promotion.rollout import ChangeRequest
from benison.serving.versions import local, sets
from benison.serving.versions.manifest import Manifest
from benison.serving.versions.sets import Candidate
from tests.integration.conftest import BENISON
from tests.integration.model_server import Server, free_port, running, under_load, wait_until

soak = pytest.mark.soak


def promote(
    base: Path, number: int, label: str = "stable", servers: Sequence[str] = (), timeout_s: float = 60
) -> Change:
    return promotion.promote(base, number, ChangeRequest("ann", "trying", tuple(servers), timeout_s), label=label)


def rollback(base: Path, servers: Sequence[str] = ()) -> Change:
    return promotion.rollback(base, ChangeRequest("ann", "worse", tuple(servers), timeout_s=60))


PATHS = ("m:predict", "m/labels/stable:predict", "")  # the last by gRPC


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers and the promotions of this module have the same token."""
    monkeypatch.setenv("BENISON_ADMIN_TOKEN", "shared")


@pytest.fixture
def base(tmp_path: Path, made: dict[int, Path]) -> Path:
    """ROOT/serving/m with versions 1 and 2, whose answers differ by 1; 1 is stable."""
    base = tmp_path / "root" / "serving" / "m"
    for number in (1, 2):
        local.publish(made[number], base, Manifest(), lambda number=number: number)  # type: ignore[misc]
    promote(base, 1)
    return base


@contextlib.contextmanager
def served(base: Path, *flags: str, **more: Any) -> Iterator[Server]:
    """A server of what models.config says, which it reads once."""
    given = [f"--model_config_file={base.parent / models_config.FILE}", "--file_system_poll_wait_seconds=0", *flags]
    with running(base.parents[2], "--allow_version_labels_for_unavailable_models=true", *given, **more) as server:
        yield server


def target(server: Server) -> str:
    return f"127.0.0.1:{server.port}"


def told(reports: Sequence[dict[str, Any]]) -> set[str]:
    """All the different answers to [0, 2]."""
    return {answer.replace(" ", "") for report in reports for answer in report["answers"]}


WHOLE = {
    number: {f"OK[{number}.0,{number + 1}.0]", f'200{{"predictions":[{number}.0,{number + 1}.0]}}'} for number in (1, 2)
}


def assert_whole(reports: Sequence[dict[str, Any]]) -> None:
    """Every request was answered, and each answer is that of one version."""
    assert [report["lost"] for report in reports if report["lost"]] == []
    assert [report["refused"] for report in reports if report["refused"]] == []
    assert told(reports) <= WHOLE[1] | WHOLE[2]


def answers_only(server: Server, number: int) -> None:
    for path in PATHS[:2]:
        for _ in range(20):
            assert server.post(path, {"instances": [0, 2]}) == (200, {"predictions": [number, number + 1]})


def available(server: Server, model: str = "m") -> set[str]:
    return {version for version, state in server.states(model).items() if state == "AVAILABLE"}


# --- servers that are notified ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=[soak, pytest.mark.timeout(1200)])])
def test_every_answer_comes_from_one_version_and_after_a_rollback_from_the_old_one(base: Path, rounds: int) -> None:
    with served(base) as server:
        with under_load(server, *PATHS, connections=4) as reports:
            for _ in range(rounds):
                promote(base, 2, servers=[target(server)])
                answers_only(server, 2)
                rollback(base, servers=[target(server)])  # 2 stays on the disk
                answers_only(server, 1)
        with under_load(server, *PATHS) as after:
            assert available(server) == {"1"}
    assert_whole(reports)
    assert told(reports) == WHOLE[1] | WHOLE[2]
    assert_whole(after)
    assert told(after) == WHOLE[1]
    print(f"{sum(sum(report['statuses'].values()) for report in reports)} requests in {rounds} rounds")


def test_a_server_that_cannot_load_the_version_is_named_and_everything_is_rolled_back(
    base: Path, made: dict[int, Path]
) -> None:
    (made[1].parent / "broken").mkdir(exist_ok=True)
    (made[1].parent / "broken" / "saved_model.pb").write_bytes(b"no graph")
    local.publish(made[1].parent / "broken", base, Manifest(), lambda: 3)
    file = base.parent / models_config.FILE
    before = (models_config.read(base.parent), history.read(base))
    with served(base, "--max_num_load_retries=0") as server:
        with (
            under_load(server, *PATHS, connections=2) as reports,
            pytest.raises(
                VersionError, match=rf"m: version 3 .*{target(server)}: model m version 3: END .*rolled back$"
            ),
        ):
            promote(base, 3, servers=[target(server)])
        answers_only(server, 1)
        assert available(server) == {"1"}
        assert (models_config.read(base.parent), history.read(base)) == before, file.read_text()
        promote(base, 2, servers=[target(server)])
        answers_only(server, 2)
    assert_whole(reports)
    assert told(reports) <= WHOLE[1]


def test_while_one_of_two_servers_is_unavailable_the_other_keeps_the_old_version(base: Path) -> None:
    away = f"127.0.0.1:{free_port()}"
    with served(base) as server:
        with pytest.raises(VersionError, match=rf"served: {away}: UNAVAILABLE.*everything was rolled back$") as error:
            promote(base, 2, servers=[target(server), away], timeout_s=20)
        assert str(error.value).count("UNAVAILABLE") == 1
        answers_only(server, 1)
        assert available(server) == {"1"}
        assert len(history.read(base)) == 1


def test_the_servers_token_is_taken_from_the_environment(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(base, environment={"BENISON_ADMIN_TOKEN": "open sesame"}) as server:
        with pytest.raises(VersionError, match="PERMISSION_DENIED"):
            promote(base, 2, servers=[target(server)])
        monkeypatch.setenv("BENISON_ADMIN_TOKEN", "open sesame")
        promote(base, 2, servers=[target(server)])
        answers_only(server, 2)


def test_a_canary_answers_beside_what_is_stable(base: Path) -> None:
    with served(base) as server:
        promote(base, 2, label="canary", servers=[target(server)])
        answers_only(server, 1)
        assert server.post("m-canary:predict", {"instances": [0]}) == (200, {"predictions": [2.0]})
        promote(base, 2, servers=[target(server)])
        answers_only(server, 2)
        assert server.post("m-canary:predict", {"instances": [0]})[0] == 404


def test_members_that_are_separate_models_are_promoted_too(tmp_path: Path, made: dict[int, Path]) -> None:
    base = tmp_path / "root" / "serving" / "m"
    for number in (1, 2):
        candidate = Candidate(made[number], Manifest())
        sets.publish(candidate, base, {"deep": candidate}, lambda number=number: number)  # type: ignore[misc]
    promote(base, 1)
    with served(base) as server, under_load(server, *PATHS[:2], "m-deep/labels/stable:predict") as reports:
        promote(base, 2, servers=[target(server)])
        assert available(server) == available(server, "m-deep") == {"2"}
    assert_whole(reports)


# --- servers that poll ------------------------------------------------------------------------------------------------


def test_a_server_that_polls_the_file_follows_and_no_request_fails(base: Path) -> None:
    with served(base, "--model_config_file_poll_wait_seconds=1") as server, under_load(server, *PATHS) as reports:
        promote(base, 2)
        wait_until(lambda: available(server) == {"2"})
        answers_only(server, 2)
        rollback(base)
        wait_until(lambda: available(server) == {"1"})
        answers_only(server, 1)
    assert_whole(reports)


# --- broken off -------------------------------------------------------------------------------------------------------


def _both(base: Path) -> bool:
    policy = models_config.read(base.parent).models["m"].policy
    return isinstance(policy, models_config.Specific) and policy.versions == {1, 2}


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "at the start": lambda base: True,
    "both are to be loaded": _both,
    "the label is moved": lambda base: (
        labels.served_versions(models_config.read(base.parent), base) == ServedVersions(2)
    ),
    "it is recorded": lambda base: len(history.read(base)) == 2,
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_promotion_that_is_killed_leaves_a_server_that_answers_and_the_next_one_works(
    base: Path, moment: str
) -> None:
    with served(base) as server:
        command = [str(BENISON), "promote", "m", "2", "--root", str(base.parents[1]), "--server", target(server)]
        with under_load(server, *PATHS, connections=2) as reports:
            killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait_until(partial(MOMENTS[moment], base), 60)
            killed.kill()
            killed.wait()
            assert labels.served_versions(models_config.read(base.parent), base) in (
                ServedVersions(1),
                ServedVersions(2),
            )
            done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        answers_only(server, 2)
        assert available(server) == {"2"}
    assert_whole(reports)
    changes = history.read(base)
    assert [change.to for change in changes] == [1, 2]


def test_a_server_that_starts_after_a_killed_promotion_serves_what_the_file_says(base: Path) -> None:
    models_config.change(
        base.parent,
        lambda config: models_config.steps(config, labels.with_served_versions(config, base, ServedVersions(2)))[0],
    )
    with served(base) as server:
        wait_until(lambda: available(server) == {"1", "2"})  # the ports open with the first of them
        assert server.post("m/labels/stable:predict", {"instances": [0]}) == (200, {"predictions": [1.0]})
