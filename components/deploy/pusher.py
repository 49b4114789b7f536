"""Pusher: make a blessed ensemble a version in TF Serving's layout, copy it to a store and promote it.

Beside the SavedModel, a version holds its model card, `card.md`, and in `assets.extra/` the ensemble's spec and report,
ServingValidator's rows with their expected predictions, warm-up requests, and rows of `train` as the background of
explanations. The TensorFlow Lite file, if there is one that passed, is `model.tflite`. With fan-out, each member is
pushed first as a model of its own. If there is a store, all of it is copied there next. Then the version is promoted,
unless the YAML or the spans forbid it.

A model that was pushed before is not pushed again. If another version is served than the one that Blessing compared the
candidate with, nothing is pushed; with `serving.promote: manual` the version is stored. The comparison is made again
under the lock of promotions, right before the version is served.

It is TFX's component with another driver and executor. TFX's own copies files into the folder that the server watches,
and does not compare with what is served.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tfx import types
from tfx.components.pusher import executor as base_executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import path_utils

from benison.components.deploy import background_sample, push_manifest, serving_validator, warmup_requests
from benison.components.deploy.tflite_converter import FILE as LITE_VERDICT
from benison.components.deploy.tflite_converter import LiteModelArtifact
from benison.components.driver import Driver
from benison.components.ensemble import ensemble_builder
from benison.components.evaluate import blessing
from benison.components.evaluate.label_report import LabelReport
from benison.components.evaluate.raw_rows import first_records
from benison.components.ingest.arguments import CONTENTS, FILES
from benison.components.ingest.csv_table import WARNINGS
from benison.components.ingest.splits import ROW_COUNTS
from benison.components.raw_examples import split_files
from benison.components.train.trainer import STRUCTURE
from benison.components.validate.anomaly_gate import Verdict
from benison.serving.ensemble import SPEC_FILE, Ensemble
from benison.serving.errors import ServedChanged
from benison.serving.explanations import background
from benison.serving.promotion import history, labels, shared_stable
from benison.serving.promotion import promote as promotion
from benison.serving.promotion.rollout import ChangeRequest
from benison.serving.versions import card, content, local, remote, sets
from benison.serving.versions.local import Version
from benison.serving.versions.manifest import Manifest, ServedBaseline
from benison.serving.versions.sets import Candidate

ALREADY_SERVED = "already_served"
NOT_PROMOTED = "not_promoted"
SPLITS = ("train", "valid", "blend", "test")
NOT_PUSHED = "not_pushed"  # the reason; benison.pipelines.node reads it
_CODE = "benison_fingerprint"  # the execution property in which benison.pipelines.node passes the hash of a node's code


@dataclass(frozen=True)
class PushSettings:
    """Settings of a push.

    Attributes:
        serving: ROOT/serving/NAME, the folder of its versions.
        facts: What the manifest says about the pipeline.
        config: Hash of the pipeline's settings.
        fan_out: Push each member as a model of its own too.
        share_runs: Let requests share runs of it even if its graph does not show that rows are independent.
        promote: `auto`: promote a blessed push at once; `manual`: leave that to somebody.
        servers: host:port of gRPC of the servers to notify; others poll models.config.
        settle_s: Pause between the steps of a promotion if no server is notified (seconds).
        store: s3://… or gs://… to copy a version to before it is served; None for none.
        background: How many rows of `train` the version keeps, to explain its answers; 0 for none.
        seed: Seed of their choice.
        lite: `quantize` and `max_drop` of the TensorFlow Lite file; None for no such file.
    """

    serving: str
    facts: Mapping[str, Any]
    config: str
    fan_out: bool = False
    share_runs: bool = False
    promote: str = "auto"
    servers: Sequence[str] = ()
    settle_s: float = 0.0
    store: str | None = None
    background: int = 0
    seed: int = 0
    lite: Mapping[str, Any] | None = None


class _Driver(Driver):
    """Keep the Pusher out of the cache: an earlier push does not tell what is on disk now."""

    def more_properties(self, execution_info: ExecutionInfo) -> dict[str, str]:
        return {"attempt": uuid.uuid4().hex}


class Executor(base_executor.Executor):
    """Publish the ensemble unless it was published before, and promote it if the settings allow it."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        settings = PushSettings(**json.loads(exec_properties["custom_config"])["settings"])
        base = Path(settings.serving)
        candidate = Path(self.GetModelPath(input_dict))
        # Reading a model takes a second per some hundred megabytes, so it is done once.
        own = content.checksum(candidate)
        before = _pushed_before(base, {own, local.checksum(candidate)}, settings)
        if before is None:
            if reason := _push_blocker(settings, _baseline(input_dict), own):
                self._MarkNotPushed(pushed)
                pushed.set_string_custom_property(NOT_PUSHED, reason)
                print(f"not pushed: {reason}")
                return
            # Even if the highest number is served, the new version must not be served before it is promoted.
            promotion.pin(base)
        if self._context and self._context.pipeline_run_id:
            facts = {**settings.facts, "run": self._context.pipeline_run_id}
            settings = replace(settings, facts=facts)
        version = before or _publish(settings, input_dict, Path(pushed.uri), exec_properties.get(_CODE), own)
        self._MarkPushed(pushed, pushed_destination=str(version.path), pushed_version=str(version.number))
        print("already pushed as" if before else "pushed", f"version {version.number}: {version.path}")
        for model, number in sets.member_versions(version).items():
            print(f"  with {model}, version {number}")
        if before:
            self._MarkNotPushed(pushed)
        if settings.store:
            # Also if it was pushed before: that push may have died before the copy was complete. Then its files are not
            # read back if their sizes are right, because runs that change nothing are frequent.
            remote.publish(base, version.number, settings.store, read_back=before is None)
            print(f"copied to {settings.store}")
        self._serve(pushed, settings, version)

    def _serve(self, pushed: types.Artifact, settings: PushSettings, version: Version) -> None:
        """Promote the version unless something speaks against it, and record the result in the artifact."""
        base = Path(settings.serving)
        served = labels.served(base)
        if served and served.number == version.number:
            pushed.set_int_custom_property(ALREADY_SERVED, 1)
            print("already served")
            return
        reason = _promotion_blocker(settings, version, served)
        if reason is None:
            run = self._context.pipeline_run_id if self._context else None
            who = f"run {run}" if run else "Pusher"
            request = ChangeRequest(
                who, "blessed push", tuple(settings.servers), settle_s=settings.settle_s, store=settings.store
            )
            try:
                promotion.promote(base, version.number, request)
                print("promoted: it is served now")
            except ServedChanged as error:
                reason = str(error)
        if reason is not None:
            pushed.set_string_custom_property(NOT_PROMOTED, reason)
            print(f"not promoted: {reason}")


class Pusher(base_component.BaseComponent):
    """Push an ensemble that has both blessings.

    Args:
        model: The candidate, EnsembleBuilder's output.
        members: Channel of each trained member's model, by name.
        model_blessing: Blessing's output.
        infra_blessing: ServingValidator's output.
        examples: Raw examples, for the warm-up requests (of `test`) and the background of explanations (of `train`).
        transform_graph: Transform's output, which the members were trained with.
        settings: Settings of the push.
        user_code: Added to `custom_config` (benison.pipelines.code.cache_key); the manifest contains its hash.
        data_verdict: AnomalyGate's output, and
        label_report: LabelCheck's output: the model card has their warnings.
        lite_model: TFLiteConverter's output, if there is one.
    """

    SPEC_CLASS = ComponentSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
    DRIVER_CLASS = _Driver

    def __init__(
        self,
        model: types.BaseChannel,
        members: Mapping[str, types.BaseChannel],
        model_blessing: types.BaseChannel,
        infra_blessing: types.BaseChannel,
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        settings: PushSettings,
        user_code: Mapping[str, Any],
        data_verdict: types.BaseChannel | None = None,
        label_report: types.BaseChannel | None = None,
        lite_model: types.BaseChannel | None = None,
    ) -> None:
        # One input per member, so that lineage names them; this is why the spec's class is defined here.
        class Spec(ComponentSpec):
            PARAMETERS = {"custom_config": ExecutionParameter(type=str)}
            INPUTS = {
                "model": ChannelParameter(type=standard_artifacts.Model),
                **{_input(name): ChannelParameter(type=standard_artifacts.Model) for name in members},
                "model_blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
                "infra_blessing": ChannelParameter(type=standard_artifacts.InfraBlessing),
                "examples": ChannelParameter(type=standard_artifacts.Examples),
                "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
                "data_verdict": ChannelParameter(type=Verdict, optional=True),
                "label_report": ChannelParameter(type=LabelReport, optional=True),
                "lite_model": ChannelParameter(type=LiteModelArtifact, optional=True),
            }
            OUTPUTS = {"pushed_model": ChannelParameter(type=standard_artifacts.PushedModel)}

        super().__init__(
            Spec(
                model=model,
                **{_input(name): channel for name, channel in members.items()},
                model_blessing=model_blessing,
                infra_blessing=infra_blessing,
                examples=examples,
                transform_graph=transform_graph,
                data_verdict=data_verdict,
                label_report=label_report,
                lite_model=lite_model,
                custom_config=json.dumps({"settings": asdict(settings), **user_code}, sort_keys=True),
                pushed_model=types.Channel(type=standard_artifacts.PushedModel),
            )
        )


def _input(member: str) -> str:
    return f"member_{member}"


def _pushed_before(base: Path, same: Collection[str], settings: PushSettings) -> Version | None:
    """Return the served version, or else the newest whole one, that is a model and was pushed in the same form.

    Args:
        base: ROOT/serving/NAME.
        same: what its manifest may record as `candidate`; see `content.checksums`.
        settings: whether members are models of their own, whether requests share runs, and the TensorFlow Lite file.
    """
    for version in (labels.served(base), *reversed(local.versions(base))):
        if version is None or bool(version.manifest.fan_out) != settings.fan_out:
            continue
        certificate = version.manifest.serving
        if (certificate is not None and certificate.share_runs) != settings.share_runs:
            continue
        lite = version.manifest.lite
        if (lite and {"quantize": lite.quantize, "max_drop": lite.max_drop}) != settings.lite:
            continue
        if version.manifest.candidate in same and not local.verify(version):
            return version
    return None


def _baseline(input_dict: dict[str, list[types.Artifact]]) -> ServedBaseline | None:
    """Return the version that Blessing compared the candidate with; None if its record is from a former release."""
    blessed = Path(artifact_utils.get_single_uri(input_dict["model_blessing"]))
    baseline = _read(blessed / blessing.FILE).get("baseline")
    return ServedBaseline.model_validate(baseline) if baseline else None


def _push_blocker(settings: PushSettings, baseline: ServedBaseline | None, candidate: str) -> str | None:
    """Return why a version that would be served must not be pushed; None if it may be, or will only be stored."""
    if settings.promote == "manual":
        return None
    base = Path(settings.serving)
    served = labels.served(base)
    if settings.store:
        try:
            shared_stable.check(settings.store, base.name, served.number if served else None)
        except ServedChanged as error:
            return str(error)
    return promotion.comparison_blocker(baseline, candidate, served)


def _promotion_blocker(settings: PushSettings, version: Version, served: Version | None) -> str | None:
    """Return why a blessed version is not promoted automatically; None if it is."""
    if settings.promote == "manual":
        return "`serving.promote` is manual"
    if history.was_served(Path(settings.serving), version.number, local.STABLE):
        return "it was served before, and another version was put in its place"
    root = Path(settings.serving).parents[1]
    return promotion.promotion_blocker(version.manifest, served.manifest if served else Manifest(), root)


def _publish(
    settings: PushSettings, input_dict: dict[str, list[types.Artifact]], scratch: Path, code: str | None, own: str
) -> Version:
    """Publish the ensemble, and with fan-out its members.

    Args:
        settings: Settings of the push.
        input_dict: The component's inputs.
        scratch: A folder for the warm-up requests and the background.
        code: Hash of the code.
        own: Hash of the ensemble's content.
    """
    from tensorflow_transform import TFTransformOutput

    built, validated, blessed, transform_graph = (
        Path(artifact_utils.get_single_uri(input_dict[key]))
        for key in ("model", "infra_blessing", "model_blessing", "transform_graph")
    )
    spec, report, rows = (
        built / SPEC_FILE,
        built / ensemble_builder.REPORT_FILE,
        validated / serving_validator.ROWS_FILE,
    )
    certificate = _read(validated / serving_validator.FILE)
    asked = {"share_runs": True} if settings.share_runs else {}
    records = first_records(split_files(input_dict["examples"], "test"), warmup_requests.MAX_ROWS)
    warmup = scratch / warmup_requests.FILE
    model, ensemble = _saved_model(input_dict, "model"), Ensemble.load(built, allow_code=True)
    real_rows = _real_rows(rows, certificate["rows"]["real"])
    warmup_requests.write(warmup, settings.facts["name"], model, real_rows, records)
    beside = [spec, report, rows, warmup]
    if settings.background:
        beside.append(scratch / background.FILE)
        background_sample.write(
            beside[-1],
            split_files(input_dict["examples"], "train"),
            TFTransformOutput(str(transform_graph)),
            settings.facts["label"],
            settings.background,
            settings.seed,
            model,
        )
    lite, lite_file = _lite(input_dict)
    structures = {
        f"{local.MEMBERS}/{name}.npz": file
        for name in ensemble.members
        if (file := _saved_model(input_dict, _input(name)).with_name(STRUCTURE)).is_file()
    }
    manifest = push_manifest.describe(
        {**settings.facts, **_facts_of_data(settings, input_dict), **lite},
        ensemble,
        _read(report),
        _read(blessed / blessing.FILE),
        {**certificate, **asked},
        push_manifest.hashes(model, transform_graph, code, settings.config),
    )
    card_file = scratch / card.FILE
    card_file.write_text(card.render(manifest), encoding="utf-8")
    trained = {name: _saved_model(input_dict, _input(name)) for name in (ensemble.members if settings.fan_out else ())}
    facts = {
        name: {
            "name": f"{settings.facts['name']}-{name}",
            "candidate": content.checksum(member),
            **({"serving": asked} if asked else {}),
        }
        for name, member in trained.items()
    }
    members = {
        name: Candidate(member, Manifest.model_validate({**settings.facts, **facts[name]}), _extra(warmup))
        for name, member in trained.items()
    }
    candidate = Candidate(
        model,
        manifest.model_copy(update={"candidate": own}),
        {**_extra(*beside), **structures, card.FILE: card_file, **lite_file},
    )
    return sets.publish(candidate, Path(settings.serving), members)


def _lite(input_dict: dict[str, list[types.Artifact]]) -> tuple[dict[str, Any], dict[str, Path]]:
    """Return what the manifest says about the TensorFlow Lite file, and the file by its path if it passed."""
    if not input_dict.get("lite_model"):
        return {}, {}
    folder = Path(artifact_utils.get_single_uri(input_dict["lite_model"]))
    record = _read(folder / LITE_VERDICT)
    return {"lite": record}, {local.LITE: folder / local.LITE} if record["passed"] else {}


def _facts_of_data(settings: PushSettings, input_dict: dict[str, list[types.Artifact]]) -> dict[str, Any]:
    """Return what the manifest says about the data: rows by split, files with their hashes, and warnings."""
    examples = artifact_utils.get_single_instance(input_dict["examples"])
    counts = json.loads(examples.get_string_custom_property(ROW_COUNTS) or "{}")
    files, contents = (
        [] if settings.facts["spans"] else json.loads(examples.get_string_custom_property(key) or "[]")
        for key in (FILES, CONTENTS)
    )
    folder = Path(settings.serving).parents[1]  # ROOT, as for `source`
    source = (folder / settings.facts["source"]).resolve().parent
    sources = [examples, *(input_dict[key][0] for key in ("data_verdict", "label_report") if input_dict.get(key))]
    warned = [json.loads(artifact.get_string_custom_property(WARNINGS) or "[]") for artifact in sources]
    return {
        "rows": {split: counts[split] for split in SPLITS if split in counts},
        "data_files": {
            os.path.relpath(file, source): record.get("sha256")
            for file, record in zip(files, contents or [{}] * len(files), strict=True)
        },
        "warnings": list(dict.fromkeys(line for lines in warned for line in lines)),
    }


def _extra(*files: Path) -> dict[str, Path]:
    return {f"{local.EXTRA}/{file.name}": file for file in files}


def _saved_model(input_dict: dict[str, list[types.Artifact]], key: str) -> Path:
    return Path(path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict[key])))


def _read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8")))


def _real_rows(file: Path, count: int) -> dict[str, Any]:
    """Return the rows that ServingValidator took from `test`, by input of `raw`; the rows after them are edge cases."""
    with np.load(file) as arrays:
        inputs = [name for name in arrays.files if name.startswith("input:")]
        return {name.removeprefix("input:"): arrays[name][:count] for name in inputs}
