"""The versions that models.config names are served, and only whole ones; each change is recorded."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from benison.serving import models_config
from benison.serving.errors import ServedChanged, UsageError, VersionError
from benison.serving.models_config import Config, Latest, Model, Specific
from benison.serving.promotion import history, labels
from benison.serving.promotion import promote as promotion
from benison.serving.promotion.history import Change
from benison.serving.promotion.labels import ServedVersions
from benison.serving.promotion.rollout import ChangeRequest
from benison.serving.versions import local, sets
from benison.serving.versions.manifest import Manifest, Republished
from benison.serving.versions.sets import Candidate

REPOSITORY = Path(__file__).parents[4]


def promote(base: Path, number: int, label: str = "stable", **request: Any) -> Change:
    request = {"who": "ann", "why": "trying", **request}
    return promotion.promote(base, number, ChangeRequest(**request), label=label)


def rollback(base: Path, to: int | None = None) -> Change:
    return promotion.rollback(base, ChangeRequest("ann", "worse"), to)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "candidate"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"graph")
    return folder


@pytest.fixture
def base(tmp_path: Path, model: Path) -> Path:
    """A model with three versions, none of which was ever promoted."""
    base = tmp_path / "serving" / "birds"
    for number in (1, 2, 3):
        local.publish(model, base, Manifest(), lambda number=number: number)  # type: ignore[misc]
    return base


def push(model: Path, base: Path, members: Mapping[str, Mapping[str, Any]], number: int) -> int:
    """An ensemble with members that are models of their own."""
    made = {name: Candidate(model, Manifest.model_validate(manifest)) for name, manifest in members.items()}
    return sets.publish(Candidate(model, Manifest()), base, made, lambda: number).number


def config(base: Path) -> Config:
    return models_config.read(base.parent)


def policy(base: Path, name: str = "birds") -> tuple[Any, dict[str, int]]:
    found = config(base).models[name]
    assert isinstance(found.policy, Specific)
    return set(found.policy.versions), dict(found.labels)


def record(base: Path) -> list[tuple[str, int | None, int | None]]:
    return [(change.label, change.before, change.to) for change in history.read(base)]


# --- what is served ---------------------------------------------------------------------------------------------------


def test_before_the_first_promotion_the_highest_is_served(base: Path) -> None:
    assert labels.served(base).number == 3


@pytest.mark.parametrize(
    ("wanted", "number"),
    [(Latest(1), 3), (Specific(frozenset([1, 2])), 2), (Specific(frozenset([9])), None), (Specific(frozenset()), None)],
)
def test_without_a_label_the_highest_that_is_wanted_is_served(base: Path, wanted: Any, number: int | None) -> None:
    (base.parent / "models.config").write_text(models_config.text([Model("birds", str(base), wanted)]))
    served = labels.served(base)
    assert (served.number if served else None) == number


def test_the_label_decides_and_not_the_number(base: Path) -> None:
    promote(base, 1)
    assert labels.served(base).number == 1
    assert policy(base) == ({1}, {"stable": 1})


def test_a_missing_labelled_version_is_reported(base: Path) -> None:
    promote(base, 2)
    local.remove(local.find(base, 2))
    with pytest.raises(VersionError, match=r"version 2 of birds is stable, but not in .*; `benison promote birds"):
        labels.served(base)
    promote(base, 3)
    assert labels.served(base).number == 3


def test_what_is_pushed_after_pin_is_not_served_by_itself(base: Path, model: Path) -> None:
    promotion.pin(base)
    local.publish(model, base, Manifest())
    assert labels.served(base).number == 3
    assert policy(base) == ({3}, {"stable": 3})


def test_the_first_push_after_pin_is_not_served_by_itself(tmp_path: Path, model: Path) -> None:
    base = tmp_path / "serving" / "new"
    promotion.pin(base)
    local.publish(model, base, Manifest(), lambda: 7)
    assert labels.served(base) is None
    promote(base, 7)
    assert labels.served(base).number == 7
    assert record(base) == [("stable", None, 7)]


# --- promote and rollback ---------------------------------------------------------------------------------------------


def test_other_models_and_foreign_labels_stay(base: Path) -> None:
    other = Model("other", "/srv/other", Latest(2))
    ours = Model("birds", str(base), Specific(frozenset([1, 2])), {"stable": 2, "blue": 1})
    (base.parent / "models.config").write_text(models_config.text([other, ours]))
    promote(base, 3)
    assert config(base).models["other"] == other
    assert policy(base) == ({1, 3}, {"stable": 3, "blue": 1})


def test_each_change_is_recorded_with_who_when_and_why(base: Path) -> None:
    promote(base, 1)
    made = promote(base, 2, who="run birds-7", why="blessed")
    assert history.read(base)[-1] == made
    assert (made.before, made.to, made.who, made.why) == (1, 2, "run birds-7", "blessed")
    assert made.when.endswith("+00:00")


def test_what_is_stable_already_is_not_recorded_again(base: Path) -> None:
    promote(base, 2)
    assert promote(base, 2).before == 2
    assert record(base) == [("stable", 3, 2)]


def test_rollback_goes_back_through_the_promoted_versions(base: Path) -> None:
    for number in (2, 1, 3):
        promote(base, number)
    assert [rollback(base).to, rollback(base).to] == [1, 2]
    assert labels.served(base).number == 2


def test_rollback_skips_versions_that_no_longer_exist(base: Path) -> None:
    for number in (1, 2, 3):
        promote(base, number)
    local.remove(local.find(base, 2))
    assert rollback(base).to == 1


def test_rollback_without_a_record_takes_the_next_lower_version(base: Path) -> None:
    assert rollback(base).to == 2


def test_rollback_to_a_version_takes_that_one(base: Path) -> None:
    promote(base, 3)
    assert rollback(base, 1).to == 1


def test_rollback_from_a_republished_version_continues_from_the_old_one(base: Path) -> None:
    for number in (1, 2, 3):
        promote(base, number)
    again = promotion.republish(base, 2, who="ann", why="3 is worse")
    rollback(base, again.number)
    assert rollback(base).to == 1


def test_a_rollback_without_an_earlier_version_is_refused(base: Path) -> None:
    promote(base, 1)
    for removed, hint in ((3, "; --to takes one of 2"), (2, "")):
        local.remove(local.find(base, removed))
        with pytest.raises(VersionError, match=f"birds: no earlier version to roll back to{hint}$"):
            rollback(base)
    assert labels.served(base).number == 1


@pytest.mark.parametrize("act", [promote, rollback])
def test_a_version_that_is_not_there_is_refused(base: Path, act: Any) -> None:
    with pytest.raises(VersionError, match=r"no version 4; it has 1, 2, 3"):
        act(base, 4)
    assert config(base) == Config({})


def test_a_version_whose_files_were_changed_is_refused(base: Path) -> None:
    promote(base, 1)
    (base / "2" / "saved_model.pb").write_bytes(b"another graph")
    with pytest.raises(VersionError, match=r"version 2 is not as it was pushed:\n.*saved_model.pb: changed since the"):
        promote(base, 2)
    assert labels.served(base).number == 1
    assert len(record(base)) == 1


@pytest.mark.parametrize("act", [promote, rollback])
def test_a_version_whose_manifest_was_deleted_is_not_promoted(base: Path, act: Any) -> None:
    promote(base, 1)
    (base / "2" / "manifest.json").unlink()
    (base / "2" / "saved_model.pb").write_bytes(b"hparg")
    with pytest.raises(
        VersionError, match=r"version 2 is not as it was pushed:\n.*/2/manifest.json: missing, and Benison"
    ):
        act(base, 2)
    assert labels.served(base).number == 1


@pytest.mark.parametrize("file", ["manifest.json", "saved_model.pb"])
def test_rollback_skips_a_damaged_version_and_reports_it(base: Path, file: str) -> None:
    for number in (1, 2, 3):
        promote(base, number)
    (base / "2" / file).write_bytes(b"other")
    previous = promotion.previous(base)
    assert previous.number == 1
    assert previous.damaged == (
        f"skipped: birds: version 2 is not as it was pushed: {base}/2/{file}: changed since the push",
    )
    assert rollback(base).to == 1


def test_if_no_whole_version_is_left_rollback_names_the_damaged_ones(base: Path) -> None:
    for number in (1, 2):  # 3 was served before them, for its number alone
        promote(base, number)
    for number in (1, 3):
        (base / str(number) / "saved_model.pb").write_bytes(b"hparg")
    with pytest.raises(VersionError) as error:
        rollback(base)
    *passed_over, reason = str(error.value).splitlines()
    assert [line.split(" is ")[0] for line in passed_over] == [f"skipped: birds: version {n}" for n in (1, 3)]
    assert reason == "birds: no earlier version to roll back to"
    assert labels.served(base).number == 2


def test_a_damaged_served_version_is_reported(base: Path) -> None:
    promote(base, 2)
    (base / "2" / "manifest.json").unlink()
    with pytest.raises(VersionError, match="birds: version 2 is not as it was pushed"):
        labels.served(base)
    assert labels.served(base, damaged=True).number == 2


def test_another_tools_version_has_nothing_to_be_verified_against(base: Path) -> None:
    (base / "5").mkdir()
    (base / "5" / "saved_model.pb").write_bytes(b"foreign")
    assert promote(base, 5).to == 5


def test_an_unknown_label_is_refused(base: Path) -> None:
    with pytest.raises(UsageError, match="label 'blue': expected one of stable, canary"):
        promote(base, 1, label="blue")


def test_a_label_that_was_moved_by_hand_is_put_on_record_with_the_next_change(base: Path) -> None:
    promote(base, 1)
    by_hand = Model("birds", str(base), Specific(frozenset([2])), {"stable": 2})
    (base.parent / "models.config").write_text(models_config.text([by_hand]))
    promote(base, 3)
    assert record(base) == [("stable", 3, 1), ("stable", 1, 2), ("stable", 2, 3)]
    assert history.read(base)[1].who == "unknown"


# --- canary -----------------------------------------------------------------------------------------------------------


def test_a_canary_is_a_model_of_its_own_until_it_is_stable(base: Path) -> None:
    promote(base, 1)
    promote(base, 2, label="canary")
    assert policy(base) == ({1}, {"stable": 1})
    assert policy(base, "birds-canary") == ({2}, {"canary": 2})
    assert config(base).models["birds-canary"].base_path == str(base)
    assert labels.served(base).number == 1
    promote(base, 2)
    assert policy(base) == ({2}, {"stable": 2})
    assert "birds-canary" not in config(base).models
    assert record(base)[1:] == [("canary", None, 2), ("stable", 1, 2), ("canary", 2, None)]


def test_a_canary_can_be_taken_away(base: Path) -> None:
    request = ChangeRequest("ann", "worse")
    promote(base, 1)
    promote(base, 2, label="canary")
    assert promotion.withdraw(base, request).to is None
    assert set(config(base).models) == {"birds"}
    assert record(base)[1:] == [("canary", None, 2), ("canary", 2, None)]
    with pytest.raises(VersionError, match="there is no canary"):
        promotion.withdraw(base, request)


def test_what_is_stable_cannot_be_the_canary(base: Path) -> None:
    promote(base, 1)
    with pytest.raises(VersionError, match="version 1 is stable, so it cannot be the canary"):
        promote(base, 1, label="canary")


# --- members apart ----------------------------------------------------------------------------------------------------


def test_members_are_promoted_in_the_same_configs(tmp_path: Path, model: Path) -> None:
    base = tmp_path / "serving" / "birds"
    push(model, base, {"deep": {}, "wide": {}}, 10)
    push(model, base, {"deep": {}, "tall": {}}, 20)
    promote(base, 10)
    assert {name: policy(base, name) for name in config(base).models} == {
        "birds": ({10}, {"stable": 10}),
        "birds-deep": ({10}, {"stable": 10}),
        "birds-wide": ({10}, {"stable": 10}),
    }
    promote(base, 20, label="canary")
    assert policy(base, "birds-deep") == ({10, 20}, {"stable": 10})  # by number, as a fan-out asks
    assert policy(base, "birds-tall") == ({20}, {})
    promote(base, 20)
    assert {name: policy(base, name) for name in config(base).models} == {
        "birds": ({20}, {"stable": 20}),
        "birds-deep": ({20}, {"stable": 20}),
        "birds-tall": ({20}, {"stable": 20}),
    }


def test_an_ensemble_with_a_member_whose_files_were_changed_is_not_promoted(tmp_path: Path, model: Path) -> None:
    base = tmp_path / "serving" / "birds"
    push(model, base, {"deep": {}}, 10)
    (base.with_name("birds-deep") / "10" / "saved_model.pb").write_bytes(b"another")
    with pytest.raises(VersionError, match=r"birds-deep/10/saved_model.pb: changed since the push"):
        promote(base, 10)


def test_the_members_of_a_served_ensemble_that_is_damaged_stay_served(tmp_path: Path, model: Path) -> None:
    base = tmp_path / "serving" / "birds"
    for number in (10, 20):
        push(model, base, {"deep": {}}, number)
    promote(base, 10)
    promote(base, 20, label="canary")
    (base / "10" / "manifest.json").unlink()
    promotion.withdraw(base, ChangeRequest("ann", "worse"))
    assert policy(base, "birds-deep") == ({10}, {"stable": 10})


def test_a_member_that_has_the_canarys_name_is_refused(tmp_path: Path, model: Path) -> None:
    base = tmp_path / "serving" / "birds"
    push(model, base, {"canary": {}}, 10)
    push(model, base, {"deep": {}}, 20)
    promote(base, 10)
    with pytest.raises(VersionError, match="birds-canary is the canary's name; rename it"):
        promote(base, 20, label="canary")


# --- republish, and older data ----------------------------------------------------------------------------------------


def test_an_old_set_comes_back_as_the_next_number(tmp_path: Path, model: Path) -> None:
    base = tmp_path / "serving" / "birds"
    push(model, base, {"deep": {"seed": 1}}, 10)
    (model / "saved_model.pb").write_bytes(b"newer graph")
    push(model, base, {"deep": {"seed": 2}}, 20)
    again = promotion.republish(base, 10, who="ann", why="20 is worse")
    assert again.number > 20
    assert (again.path / "saved_model.pb").read_bytes() == b"graph"
    assert local.verify(again) == []
    assert again.manifest.candidate == local.find(base, 10).manifest.candidate
    assert again.manifest.republished == Republished(version=10, who="ann", why="20 is worse")
    ((name, number),) = sets.member_versions(again).items()
    assert local.find(base.with_name(name), number).manifest.model_extra["seed"] == 1


@pytest.mark.parametrize(
    ("ours", "theirs", "why"),
    [
        ({"spans": [1, 2]}, {"spans": [2, 3], "version": 7}, "newest span is 2, and version 7, which is served, was"),
        ({"spans": [2, 3]}, {"spans": [2, 3]}, None),
        ({"spans": [3, 4]}, {"spans": [1, 2, 3]}, None),
        ({"spans": [1]}, {"spans": []}, None),
        ({}, {"spans": [3]}, None),
        ({"spans": [1]}, {}, None),
    ],
)
def test_a_run_on_older_data_is_not_promoted(ours: dict[str, Any], theirs: dict[str, Any], why: str | None) -> None:
    said = promotion.promotion_blocker(Manifest.model_validate(ours), Manifest.model_validate(theirs), Path("/nowhere"))
    assert (said is None) == (why is None)
    assert (why or "") in (said or "")


def test_a_run_of_another_project_with_the_same_name_is_not_promoted(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for name in ("ours.yaml", "theirs.yaml"):
        (tmp_path / name).touch()
    (tmp_path / "link.yaml").symlink_to("theirs.yaml")

    def blocker(source: str, served: str) -> str | None:
        candidate, current = Manifest(source=f"../{source}"), Manifest(version=7, source=served and f"../{served}")
        return promotion.promotion_blocker(candidate, current, root)

    assert blocker("ours.yaml", "theirs.yaml") == (
        f"version 7, which is served, was pushed by another project with this name, {tmp_path / 'theirs.yaml'}; "
        "rename one of them, or give each a --root of its own"
    )
    assert blocker("theirs.yaml", "theirs.yaml") is None
    assert blocker("link.yaml", "theirs.yaml") is None
    assert blocker("ours.yaml", "moved away.yaml") is None
    assert blocker("ours.yaml", "") is None  # an older version does not say


# --- compared with what is served at that moment -----------------------------------------------------------------------


def judged(base: Path, model: Path, number: int, against: int | None) -> int:
    """A stored candidate whose run compared it with a version."""
    (model / "saved_model.pb").write_bytes(f"graph {number}".encode())
    identity = local.identity(local.find(base, against) if against else None)
    baseline = {"identity": identity, "version": against}
    return local.publish(model, base, Manifest.model_validate({"baseline": baseline}), lambda: number).number


@pytest.fixture
def compared(tmp_path: Path, model: Path) -> Path:
    """Version 1 is served; 2 and 3 were compared with it."""
    base = tmp_path / "serving" / "owls"
    judged(base, model, 1, None)
    promote(base, 1)
    for number in (2, 3):
        judged(base, model, number, 1)
    return base


def test_a_candidate_takes_the_place_only_of_the_version_that_it_was_compared_with(compared: Path) -> None:
    assert promote(compared, 3).to == 3
    message = (
        "owls: version 2 is not promoted: version 3 is served now, and the run compared its candidate with version 1: run "
        "again; --force promotes it anyway"
    )
    with pytest.raises(ServedChanged, match=f"^{re.escape(message)}$"):
        promote(compared, 2)
    assert (labels.served(compared).number, len(record(compared))) == (3, 2)
    assert promote(compared, 2, force=True).to == 2


def test_one_that_was_compared_with_nothing_does_not_replace_what_came_meanwhile(compared: Path, model: Path) -> None:
    judged(compared, model, 4, None)
    with pytest.raises(
        ServedChanged, match="version 1 is served now, and the run compared its candidate with no version"
    ):
        promote(compared, 4)


def test_what_was_served_before_comes_back_without_a_comparison(compared: Path) -> None:
    promote(compared, 3)
    assert promote(compared, 1).to == 1
    assert rollback(compared, 3).to == 3


def test_a_canary_replaces_nothing_and_is_compared_when_it_becomes_stable(compared: Path) -> None:
    promote(compared, 2, label="canary")
    promote(compared, 3)
    with pytest.raises(ServedChanged, match="version 3 is served now"):
        promote(compared, 2)


def test_the_same_model_under_another_number_is_the_one_that_it_was_compared_with(compared: Path) -> None:
    again = promotion.republish(compared, 1, who="ann", why="servers without models.config")
    rollback(compared, again.number)
    assert promote(compared, 2).to == 2


def test_two_candidates_at_a_time_that_beat_the_same_version_do_not_both_become_served(compared: Path) -> None:
    promotions = [start(STOPS_AT.format(at=1), compared, 2)]
    assert promotions[0].stdout.readline() == "holding\n"  # it has compared, and holds the lock
    promotions.append(start("", compared, 3))
    promotions[0].communicate("go on\n")
    promotions[1].communicate()
    assert [done.returncode for done in promotions] == [0, 1]
    assert labels.served(compared).number == 2


# --- several at a time, and broken off --------------------------------------------------------------------------------


def start(script: str, base: Path, number: int) -> subprocess.Popen[str]:
    """A promotion in a process of its own; the script may stop at `hold()` until a line is sent to it."""
    prelude = """
        import os, sys
        from pathlib import Path
        from benison.serving import models_config
        from benison.serving.promotion import history, promote
        from benison.serving.promotion.rollout import ChangeRequest
        base, number = Path(sys.argv[1]), int(sys.argv[2])
        def hold():
            print("holding", flush=True)
            sys.stdin.readline()
    """
    code = textwrap.dedent(prelude) + textwrap.dedent(script)
    code += "promote.promote(base, number, ChangeRequest('bob', 'trying', settle_s=0.001))\n"
    return subprocess.Popen(
        [sys.executable, "-c", code, str(base), str(number)],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


STOPS_AT = """
    replace, count = os.replace, {at}
    def stop(*args):
        global count
        count -= 1
        if count == 0:
            hold()
        replace(*args)
        if count == 0.5:
            hold()
    os.replace = stop
"""


@pytest.mark.parametrize("at", [1, 1.5, 2, 2.5, 3, 3.5])
def test_a_promotion_that_is_killed_leaves_a_whole_config_and_the_next_one_works(base: Path, at: float) -> None:
    promote(base, 1)
    killed = start(STOPS_AT.format(at=at), base, 2)
    assert killed.stdout.readline() == "holding\n"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert labels.served_versions(config(base), base) in (ServedVersions(1), ServedVersions(2))
    assert labels.served(base).number in (1, 2)
    promote(base, 3)
    assert policy(base) == ({3}, {"stable": 3})
    changes = record(base)
    assert changes[-1][2] == 3
    assert all(earlier[2] == later[1] for earlier, later in pairwise(changes))


def test_two_promotions_at_a_time_go_one_after_the_other(base: Path) -> None:
    promote(base, 1)
    first = start(STOPS_AT.format(at=2), base, 2)
    assert first.stdout.readline() == "holding\n"
    second = start("", base, 3)
    first.communicate("go on\n")
    second.communicate()
    assert (first.returncode, second.returncode) == (0, 0)
    assert record(base)[1:] == [("stable", 1, 2), ("stable", 2, 3)]
    assert policy(base) == ({3}, {"stable": 3})


def test_an_interrupt_puts_everything_back(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    promote(base, 1)
    before = (base.parent / "models.config").read_text()
    replaced: list[str] = []
    replace = os.replace

    def interrupted(*paths: Any) -> None:
        replace(*paths)
        replaced.append(paths[1])
        if len(replaced) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        promote(base, 2, settle_s=0.001)
    assert (base.parent / "models.config").read_text() == before
    assert len(record(base)) == 1
