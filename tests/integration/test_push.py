"""A push leaves a whole version on the disk, which is then served: Pusher's executor with the artifacts of a real run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import urllib.request
import uuid
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benison.serving import fan_out, models_config
from benison.serving.client import GrpcClient
from benison.serving.ensemble import Ensemble
from benison.serving.errors import ServedChanged, StoreError
from benison.serving.promotion import labels as promotion_labels
from benison.serving.promotion import promote
from benison.serving.promotion.rollout import ChangeRequest
from benison.serving.server.batching import sharing
from benison.serving.server.pages import model_info
from benison.serving.versions import local, remote, sets
from benison.serving.versions.local import Version
from benison.serving.versions.manifest import FORMAT, Manifest
from tests.integration.conftest import Project
from tests.integration.model_server import running, signatures_alone

MARK = "BENISON_TEST_PUSHES"  # in the environment of a run that is to be killed with all that it started
MEMBERS = ("linear", "quadratic", "deep")


class Node:
    """Pusher as a run calls it, with the artifacts of a run that has ended; it pushes to another place."""

    def __init__(self, project: Project, serving: Path) -> None:
        from benison.components.deploy.pusher import PushSettings

        run = project.first_run()  # other tests may have run in the project since
        pipeline = json.loads(Path(run["folder"], "pipeline.json").read_text())
        nodes = {node["pipelineNode"]["nodeInfo"]["id"]: node["pipelineNode"] for node in pipeline["nodes"]}
        outputs = {node["id"]: node["outputs"] for node in run["nodes"]}
        self.base = serving / "birds"
        self._scratch = serving.with_name("pushed")
        self._scratch.mkdir()
        given = nodes["Pusher"]["parameters"]["parameters"]["custom_config"]["fieldValue"]["stringValue"]
        self.settings = replace(PushSettings(**json.loads(given)["settings"]), serving=str(self.base))
        channels = {
            key: given["channels"][0] for key, given in nodes["Pusher"]["inputs"]["inputs"].items() if key[0] != "_"
        }
        self._inputs = {
            key: [_artifact(outputs[channel["producerNodeQuery"]["id"]][channel["outputKey"]][0])]
            for key, channel in channels.items()
        }

    def push(self, *, spans: tuple[int, ...] = (), **settings: Any) -> dict[str, Any]:
        """Runs it; returns what it notes down of the push."""
        from tfx.types import standard_artifacts

        from benison.components.deploy.pusher import Executor

        pushed = standard_artifacts.PushedModel()
        pushed.uri = str(self._scratch)
        changed = replace(self.settings, **settings, facts={**self.settings.facts, "spans": spans})
        custom_config = json.dumps({"settings": asdict(changed), "code": []})
        Executor().Do(self._inputs, {"pushed_model": [pushed]}, {"custom_config": custom_config})
        properties = pushed.mlmd_artifact.custom_properties
        return {name: getattr(value, value.WhichOneof("value")) for name, value in properties.items()}

    @property
    def served(self) -> int | None:
        version = promotion_labels.served(self.base)
        return version.number if version else None


def _artifact(output: Mapping[str, Any]) -> Any:
    from tfx.types import artifact_utils, standard_artifacts

    from benison.components.evaluate.label_report import LabelReport
    from benison.components.validate.anomaly_gate import Verdict

    own = {kind.TYPE_NAME: kind for kind in (LabelReport, Verdict)}
    made = own[output["type"]]() if output["type"] in own else getattr(standard_artifacts, output["type"])()
    made.uri = output["uri"]
    for name, value in output["properties"].items():
        (made.set_int_custom_property if isinstance(value, int) else made.set_string_custom_property)(name, value)
    if output["type"] == "Examples":
        splits = [folder.name.removeprefix("Split-") for folder in Path(made.uri).glob("Split-*")]
        made.split_names = artifact_utils.encode_split_names(sorted(splits))
    return made


@pytest.fixture
def node(pushed: Project, tmp_path: Path) -> Node:
    return Node(pushed, tmp_path / "serving")


@pytest.fixture(scope="module")
def version(pushed: Project) -> Version:
    """Return the version that the first run pushed."""
    return min(local.versions(pushed.base), key=lambda version: version.number)


def test_a_version_holds_all_that_belongs_to_the_model(version: Version) -> None:
    extra = {path.name for path in (version.path / "assets.extra").iterdir()}
    assert extra == {
        "background.json", "ensemble.json", "ensemble_report.json", "parity_rows.npz", "raw_inputs.json", "schema.pbtxt",
        "tf_serving_warmup_requests",
    }  # fmt: skip
    assert local.verify(version) == []
    assert Ensemble.load(version.path / "assets.extra").members == version.manifest.members


def test_the_manifest_says_what_the_model_is_made_of_and_who_let_it_pass(version: Version, pushed: Project) -> None:
    manifest = version.manifest
    assert (manifest.format, manifest.model_extra) == (FORMAT, {})
    assert (manifest.name, manifest.label, manifest.problem) == ("birds", "species", "multiclass")
    assert manifest.combiner == "mean"
    assert {
        "weights",
        "calibration",
        "contributions",
        "slices",
        "spans",
        "created",
        "bytes",
        "files",
    } <= manifest.model_fields_set
    assert set(manifest.hashes) == {"schema", "transform", "code", "config"}
    assert all(len(digest) == 64 for digest in manifest.hashes.values())
    assert manifest.metrics.keys() == {"ensemble", *MEMBERS}
    assert manifest.gains.keys() == set(MEMBERS)
    assert manifest.without.keys() == set(manifest.members)
    assert all(verdict.passed or verdict.warning for verdict in (*manifest.verdicts, *manifest.serving.verdicts))
    assert {path.path for path in manifest.serving.parity} >= {"fused gRPC", "fused REST"}
    assert manifest.serving.measured[0].keys() > manifest.serving.budget.keys()
    assert manifest.fan_out == {}


def test_requests_for_a_version_share_runs(version: Version) -> None:
    assert not signatures_alone(version.path)


def test_the_manifest_tells_the_server_that_the_owner_wants_shared_runs(node: Node) -> None:
    policy = sharing.SharingPolicy()
    for asked in (False, True):
        number = int(node.push(share_runs=asked, fan_out=True)["pushed_version"])
        for folder in (node.base, *(sets.member_base(node.base, member) for member in MEMBERS)):
            assert bool(sharing.asked_by(str(folder / str(number)), policy)) is asked


def test_the_parity_rows_get_the_same_answers_again(version: Version) -> None:
    import tensorflow as tf

    with np.load(version.path / "assets.extra" / "parity_rows.npz") as rows:
        inputs = {name.removeprefix("input:"): tf.constant(rows[name]) for name in rows.files if name != "expected"}
        answers = tf.saved_model.load(str(version.path)).signatures["raw"](**inputs)["probabilities"]
        assert _agree(answers, rows["expected"])


def _agree(answers: Any, expected: Any) -> bool:
    # Where a row's numbers overflow, which of its outputs become NaN depends on the kernel that the process runs.
    finite = np.isfinite(expected).all(axis=1)
    assert finite.sum() > 64, "the real rows, and most of those at the edges"
    return np.allclose(np.asarray(answers)[finite], expected[finite], atol=1e-5)


def test_a_server_warms_up_with_real_rows_and_shows_the_first_one(version: Version, tmp_path: Path) -> None:
    known = model_info.read(str(version.path))
    assert known.members == MEMBERS
    assert sum(known.weights.values()) == pytest.approx(1)
    row = known.examples["raw"]
    assert row["island"] in ("Biscoe", "Dream", "Torgersen")
    assert 25 < row["bill_length_mm"] < 65
    assert known.examples.keys() == {"raw", "serving_default"}
    base = f"--model_base_path={version.path.parent}"
    with running(tmp_path, base, "--model_name=birds") as server:  # a request that fails would keep it from serving
        assert server.post("birds:predict", {"signature_name": "raw", "instances": [row]})[0] == 200


def test_a_push_is_served_at_once_and_not_done_again(node: Node) -> None:
    first = node.push()
    assert (first["pushed"], str(node.served)) == (1, first["pushed_version"])
    assert models_config.read(node.base.parent).models["birds"].labels == {"stable": node.served}
    again = node.push()
    assert (again["pushed"], again["already_served"]) == (0, 1)
    assert again["pushed_version"] == first["pushed_version"]
    assert len(local.versions(node.base)) == 1


def test_with_fan_out_the_members_are_pushed_and_served_as_models_of_their_own(node: Node, tmp_path: Path) -> None:
    fused = int(node.push()["pushed_version"])
    number = int(node.push(fan_out=True)["pushed_version"])
    assert number > fused, "the same model, but pushed in another way"
    config = models_config.read(node.base.parent).models
    assert config.keys() == {"birds", "birds-linear", "birds-quadratic", "birds-deep"}
    assert {(name, model.labels["stable"]) for name, model in config.items()} == {(name, number) for name in config}
    whole = promotion_labels.served(node.base)
    assert whole is not None
    for member in MEMBERS:
        (alone,) = local.versions(sets.member_base(node.base, member))
        assert local.verify(alone) == []
        assert model_info.read(str(alone.path)).examples.keys() == {"raw", "serving_default"}

    with np.load(whole.path / "assets.extra" / "parity_rows.npz") as rows:
        inputs = {name.removeprefix("input:"): rows[name] for name in rows.files if name != "expected"}
        expected = rows["expected"]

    async def both(target: str) -> tuple[Any, Any]:
        async with GrpcClient(target) as client, fan_out.FanOut.of_version(whole, target, deadline_s=30) as apart:
            answered = await client.predict("birds", inputs, signature="raw")
            answer = await apart.predict(inputs)
            assert answer.decision is not None
            assert answer.decision.tolist() == answered["decision"].tolist()
            return answered["probabilities"], answer.values

    async def gaps(target: str) -> list[Any]:
        """Ask for three rows without masses: with the value for a missing cell, with None, and without the column."""
        rows = {name: values[:3] for name, values in inputs.items()}
        without = {name: values for name, values in rows.items() if name != "body_mass_g"}
        missing = whole.missing_values
        named = {**without, "body_mass_g": np.full(3, missing["body_mass_g"])}
        nulls = {**without, "body_mass_g": [None] * 3}
        async with GrpcClient(target) as client, fan_out.FanOut.of_version(whole, target, deadline_s=30) as apart:
            calls = [
                client.predict("birds", named, signature="raw"),
                client.predict("birds", nulls, signature="raw", missing=missing),
                client.predict("birds", without, signature="raw", missing=missing),
                client.predict("birds", without, signature="raw"),
            ]
            fused = [(await call)["probabilities"] for call in calls]
            return [*fused, (await apart.predict(nulls)).values, (await apart.predict(without)).values]

    flags = (
        f"--model_config_file={node.base.parent / models_config.FILE}",
        "--allow_version_labels_for_unavailable_models=true",
    )
    with running(tmp_path, *flags) as server:
        for answers in asyncio.run(both(f"127.0.0.1:{server.port}")):
            assert _agree(answers, expected)
        first, *others = asyncio.run(gaps(f"127.0.0.1:{server.port}"))
        assert all(np.allclose(answers, first, atol=1e-5) for answers in others)


@pytest.mark.parametrize("killed", ["linear", *(pytest.param(name, marks=pytest.mark.soak) for name in MEMBERS[1:])])
def test_an_ensemble_without_a_killed_member_is_as_good_as_predicted(
    node: Node, pushed: Project, tmp_path: Path, killed: str
) -> None:
    from tensorflow_transform import TFTransformOutput

    from benison.components.evaluate import score_tables
    from benison.components.evaluate.metrics import metrics_for
    from benison.components.evaluate.raw_rows import first_records, raw_rows
    from benison.components.evaluate.scorer import Scores

    number = int(node.push(fan_out=True)["pushed_version"])
    whole = promotion_labels.served(node.base)
    assert whole is not None
    outputs = {
        n["id"]: {key: made[0]["uri"] for key, made in n["outputs"].items()} for n in pushed.first_run()["nodes"]
    }
    columns = TFTransformOutput(outputs["Transform"]["transform_graph"]).raw_feature_spec()
    test_rows = Path(outputs["CsvExampleGen"]["examples"], "Split-test")
    records = first_records(sorted(map(str, test_rows.iterdir())), 10_000)
    labels = score_tables.labels_of(Scores.load(Path(outputs["MemberScores"]["scores"]), "test"))
    assert len(records) == len(labels) > 50

    async def ask(ports: Mapping[str, int]) -> fan_out.Answer:
        endpoints = {
            member: fan_out.Endpoint(f"127.0.0.1:{port}", f"birds-{member}", number) for member, port in ports.items()
        }
        ensemble = Ensemble.load(whole.path / "assets.extra")
        async with fan_out.FanOut(ensemble, endpoints, deadline_s=30) as apart:
            return await apart.predict(raw_rows(records, columns, whole.arguments))

    with contextlib.ExitStack() as stack:
        servers = {}
        for member in MEMBERS:
            (tmp_path / member).mkdir()
            base = f"--model_base_path={sets.member_base(node.base, member)}"
            server = running(tmp_path / member, base, f"--model_name=birds-{member}")
            servers[member] = stack.enter_context(server)
        ports = {member: server.port for member, server in servers.items()}
        before = asyncio.run(ask(ports))
        servers[killed].process.kill()
        servers[killed].process.wait()
        after = asyncio.run(ask(ports))

    assert (before.members, after.members) == (MEMBERS, tuple(name for name in MEMBERS if name != killed))
    assert after.failures.keys() == {killed}
    answers = {"whole": before.values, "degraded": after.values}
    found = score_tables.metric_table(metrics_for("multiclass"), labels, answers)
    assert found["whole"] == pytest.approx(whole.manifest.metrics["ensemble"], abs=1e-5)
    assert found["degraded"] == pytest.approx(whole.manifest.without[killed].metrics, abs=1e-5)


def test_promoted_by_hand_where_the_yaml_says_so(node: Node) -> None:
    said = node.push(promote="manual")
    assert (said["pushed"], said["not_promoted"]) == (1, "`serving.promote` is manual")
    assert node.served is None, "not even for being the highest number"
    number = int(said["pushed_version"])
    promote.promote(node.base, number, ChangeRequest("ann", "looks good"))
    assert node.push(promote="manual")["already_served"] == 1
    assert node.served == number


def test_a_run_on_older_spans_is_kept_but_not_served(node: Node) -> None:
    newer = int(node.push(spans=(3, 4))["pushed_version"])
    said = node.push(spans=(2, 3), fan_out=True)
    assert said["pushed"] == 1
    assert "its newest span is 3" in said["not_promoted"]
    assert node.served == newer
    assert len(local.versions(node.base)) == 2


def test_what_was_rolled_back_does_not_come_back_by_itself(node: Node) -> None:
    old = int(node.push()["pushed_version"])
    node.push(fan_out=True)
    promote.rollback(node.base, ChangeRequest("ann", "worse"))
    said = node.push(fan_out=True)
    assert (said["pushed"], said["not_promoted"]) == (
        0, "it was served before, and another version was put in its place"
    )  # fmt: skip
    assert node.served == old


def test_a_version_that_came_in_between_is_not_replaced(node: Node, made: dict[int, Path]) -> None:
    newer = local.publish(made[1], node.base, Manifest(), lambda: 5).number
    promote.promote(node.base, newer, ChangeRequest("another run", "blessed"))
    said = node.push()
    reason = f"version {newer} is served now, and the run compared its candidate with no version: run again"
    assert (said["pushed"], said["not_pushed"]) == (0, reason)
    assert "pushed_version" not in said
    assert [version.number for version in local.versions(node.base)] == [newer]
    stored = int(node.push(promote="manual")["pushed_version"])
    assert node.served == newer
    with pytest.raises(ServedChanged, match="is served now, and the run compared its candidate with no version"):
        promote.promote(node.base, stored, ChangeRequest("ann", "looks good"))


def test_the_pusher_of_an_old_run_pushes_and_promotes_nothing(node: Node, made: dict[int, Path]) -> None:
    old = int(node.push()["pushed_version"])
    newer = [local.publish(made[offset], node.base, Manifest()).number for offset in (1, 2)]
    promote.promote(node.base, newer[1], ChangeRequest("another run", "blessed"))
    said = node.push()
    assert (said["pushed"], said["pushed_version"]) == (0, str(old))
    assert said["not_promoted"] == "it was served before, and another version was put in its place"
    assert [version.number for version in local.versions(node.base)] == [old, *newer]
    assert node.served == newer[1]


def test_a_version_that_came_in_while_it_was_pushed_is_not_replaced(
    node: Node, made: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = sets.publish

    def another_first(*args: Any, **kwargs: Any) -> Version:
        version = publish(*args, **kwargs)
        newer = local.publish(made[1], node.base, Manifest()).number
        promote.promote(node.base, newer, ChangeRequest("another run", "blessed"))
        return version

    monkeypatch.setattr(sets, "publish", another_first)
    said = node.push()
    assert said["pushed"] == 1
    assert "is served now, and the run compared its candidate with no version" in said["not_promoted"]
    assert node.served == int(said["pushed_version"]) + 1


def test_a_push_that_died_before_its_promotion_is_promoted_by_the_next(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(promote, "promote", die)
        with pytest.raises(KeyboardInterrupt):
            node.push()
    assert node.served is None
    said = node.push()
    assert (said["pushed"], "not_promoted" in said) == (0, False)
    assert str(node.served) == said["pushed_version"]
    assert len(local.versions(node.base)) == 1


def test_a_push_is_copied_to_the_store_before_it_is_served(
    node: Node, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = "s3://bucket/models"

    def unserved(*_: Any, **__: Any) -> None:
        assert [stored.number for stored in remote.versions(store, "birds")]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(promote, "promote", unserved)
        with pytest.raises(KeyboardInterrupt):
            node.push(store=store, fan_out=True)
    for name in ("birds", *(f"birds-{member}" for member in MEMBERS)):
        assert len(remote.versions(store, name)) == 1


def test_a_push_that_the_store_refuses_is_not_served_and_the_next_one_continues_it(node: Node, s3: str) -> None:
    old = int(node.push()["pushed_version"])
    with pytest.raises(StoreError, match=r"s3://nest/models/birds-\w+/\d+: not found; create the bucket nest first"):
        node.push(store="s3://nest/models", fan_out=True)
    assert node.served == old
    urllib.request.urlopen(urllib.request.Request(f"{s3}/nest", method="PUT")).close()
    said = node.push(store="s3://nest/models", fan_out=True)
    assert node.served == int(said["pushed_version"]) > old
    assert [stored.number for stored in remote.versions("s3://nest/models", "birds")] == [node.served]
    assert len(local.versions(node.base)) == 2


@pytest.mark.soak
@pytest.mark.parametrize(
    "reached",
    ["birds-linear/.incoming-*", "birds-linear/[0-9]*", "birds-deep/[0-9]*", "birds/.incoming-*", "birds-deep/*/m*"],
)
def test_after_a_run_that_is_killed_while_it_pushes_the_next_one_continues(
    pushed: Project, tmp_path: Path, real_processes: None, reached: str
) -> None:
    project = pushed.copy(tmp_path / "killed")
    with (project.folder / "birds.yaml").open("a") as yaml:
        yaml.write("serving: {fan_out: true}\n")
    old = promotion_labels.served(project.base)
    mark = uuid.uuid4().hex
    run = subprocess.Popen(
        project.command("run", "birds.yaml"), cwd=project.folder, env={**os.environ, MARK: mark},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not any(project.base.parent.glob(reached)):  # as fast as can be: it is there for milliseconds
        assert run.poll() is None
    _kill(mark)
    run.wait()

    left = promotion_labels.served(project.base)
    assert left is not None
    assert old is not None
    assert left.number == old.number or left.manifest.fan_out.keys() == set(MEMBERS)
    done = project.run()
    assert done.returncode == 0, done.stdout + done.stderr
    new = promotion_labels.served(project.base)
    assert new is not None
    assert new.number > old.number
    homes = [project.base, *(sets.member_base(project.base, member) for member in MEMBERS)]
    assert [[v.number for v in local.versions(home)] for home in homes] == [
        [old.number, new.number], *([new.number] for _ in MEMBERS)
    ]  # fmt: skip
    assert [problem for home in homes for v in local.versions(home) for problem in local.verify(v)] == []
    assert list(project.base.parent.glob("*/.incoming-*")) == []


def _kill(mark: str) -> None:
    """All at once, as when the machine loses its power: the run and every process that it started."""
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in environment.read_bytes():
                os.kill(int(environment.parent.name), signal.SIGKILL)
