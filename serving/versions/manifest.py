"""The manifest of a version, `manifest.json`: what it is made of, its quality and why it may be served.

Every reader uses this model. `versions.local.publish` is the only writer. Formats: 1 has no key `format` and is what
Benison wrote before 2; 2 has it; 3 adds `inputs`, without which a missing integer is -1. A manifest keeps the keys that
this model does not know, so that those of another tool or of a later release are not lost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError

from benison.serving.errors import VersionError
from benison.serving.versions.answer_interval import AnswerInterval
from benison.serving.versions.record import Record

FORMAT = 3


class FileRecord(Record):
    """A file of a version.

    Attributes:
        sha256: Its checksum, hex.
        bytes: Its size.
    """

    sha256: str
    bytes: int


class RawInput(Record):
    """An input of the signature `raw`.

    Attributes:
        column: The column of the data.
        type: TensorFlow's name of its type: int64, float32 or string.
        missing: The value that stands for a missing cell; "NaN" is not a number. None: the column is required.
    """

    column: str
    type: str
    missing: int | str | None = None


class DateForm(Record):
    """The dates that the features of a column read.

    Attributes:
        format: As for strptime, or `ISO 8601`.
        pattern: The same as a regular expression.
        letters: strptime's letter of each of its groups.
    """

    format: str
    pattern: str
    letters: str


class PinnedMember(Record):
    """A member's version that was pushed with an ensemble.

    Attributes:
        model: The member's model, NAME-MEMBER.
        version: Its version number.
    """

    model: str
    version: int


class Republished(Record):
    """The origin of a version that was published once more.

    Attributes:
        version: Number of the older version.
        who: Who published it again.
        why: The reason, in a few words.
    """

    version: int
    who: str = ""
    why: str = ""


class RuleVerdict(Record):
    """The decision of one rule about the candidate.

    Attributes:
        rule: Its name, such as `accuracy >= 0.85`.
        passed: True if the candidate may pass.
        reason: One sentence with the figures.
        value: The candidate's metric; None where it is undefined or not needed.
        bound: What the value was compared with.
        interval: Confidence interval of the difference.
        warning: True if the candidate does not pass, and the rule only warns.
    """

    rule: str
    passed: bool
    reason: str = ""
    value: float | None = None
    bound: float | None = None
    interval: tuple[float, float] | None = None
    warning: bool = False


class SampleWeights(Record):
    """The sample weights by which the rows of `test` count.

    Attributes:
        column: The column of the data.
        rows: Number of rows.
        effective_rows: Number of rows of equal weight that tell as much.
    """

    column: str
    rows: int
    effective_rows: float


class Gain(Record):
    """The paired difference of a metric, with the ends of its confidence interval; None where it is undefined."""

    gain: float | None = None
    low: float | None = None
    high: float | None = None


class WithoutMember(Gain):
    """The ensemble without one member: its metrics, and what the member gains."""

    metrics: Mapping[str, float | None] = Field(default_factory=dict)


class MemberContribution(Gain):
    """EnsembleBuilder's decision about a member; `weight` is None for combiners without weights."""

    member: str
    kept: bool = True
    weight: float | None = None
    why: str = ""


class Slice(Record):
    """The quality on some of the test rows: metrics by model, gains by member."""

    rows: int
    metrics: Mapping[str, Mapping[str, float | None]] = Field(default_factory=dict)
    gains: Mapping[str, Gain] = Field(default_factory=dict)


class ServedBaseline(Record):
    """The served version that the candidate was compared with.

    Attributes:
        identity: See `versions.local.identity`.
        version: Its number; None if nothing was served.
        path: Its folder; None if it was not compared with.
        why_not: Why it was not compared with.
    """

    identity: str
    version: int | None = None
    path: str | None = None
    why_not: str = ""


class Parity(Record):
    """The difference between the answers of one path of prediction and those of the training path.

    Attributes:
        path: Such as `fused REST`.
        rows: How many rows were compared.
        difference: The largest difference of a prediction; None if it is not a number.
        row: The row that has it.
    """

    path: str
    rows: int = 0
    difference: float | None = None
    row: int | None = None


class ServingCertificate(Record):
    """The findings of ServingValidator.

    Attributes:
        blessed: True if every verdict passed.
        verdicts: One for each rule.
        parity: One for each path of prediction.
        budget: The allowed load time (s), memory (MB) and latency (ms).
        measured: The same, one entry per trial.
        rows: How many rows were predicted: all, real, refused.
        share_runs: True if requests may share runs even if the graph does not show that rows are independent.
    """

    blessed: bool = False
    verdicts: tuple[RuleVerdict, ...] = ()
    parity: tuple[Parity, ...] = ()
    budget: Mapping[str, float | None] = Field(default_factory=dict)
    measured: tuple[Mapping[str, float | None], ...] = ()
    rows: Mapping[str, int] = Field(default_factory=dict)
    share_runs: bool = False


class LiteLoss(Record):
    """The loss of a TensorFlow Lite file on some rows.

    Attributes:
        rows: What rows they are.
        count: How many.
        before: The metric of the SavedModel; None where it is undefined.
        after: The metric of the file.
        drop: How much worse the file is.
        low: The lower end of the drop's interval.
        high: The upper end.
        difference: The largest difference of an answer, in units of the answers' scale.
    """

    rows: str
    count: int
    before: float | None = None
    after: float | None = None
    drop: float | None = None
    low: float | None = None
    high: float | None = None
    difference: float | None = None


class LiteFile(Record):
    """The TensorFlow Lite file of a version, and what TFLiteConverter measured.

    Attributes:
        quantize: none, dynamic, float16 or int8.
        max_drop: How much of the metric it may lose.
        metric: The metric.
        passed: True if the version has the file.
        reason: One sentence with the figures, or why it could not be converted.
        signature: raw or transformed.
        outside: Why the file does not have Transform's graph; '' if it has.
        bytes: Its size; None if it could not be converted.
        losses: The loss on each set of rows.
    """

    quantize: str = "none"
    max_drop: float = 0.0
    metric: str = ""
    passed: bool = False
    reason: str = ""
    signature: str = ""
    outside: str = ""
    bytes: int | None = None
    losses: tuple[LiteLoss, ...] = ()


class Manifest(Record):
    """Everything that is recorded about a version. Each field has a default: other tools push without a manifest.

    Attributes:
        format: The format of the file; 1 if it has no such key.
        version: The version number.
        created: When it was published (UTC, ISO).
        candidate: Hash of the content of the SavedModel as it was judged, see `versions.content`; in versions of former
            releases, and if the form of the SavedModel is not known, the checksum of its bytes.
        files: The version's files by relative path.
        bytes: Size of all of them; None if unknown.
        name: The model's name.
        source: The YAML file of the run that pushed it, relative to ROOT; '' in an older version.
        run: The id of the run that pushed it, which `benison lineage` follows; '' in an older version.
        label: The column that it predicts.
        problem: binary, multiclass or regression.
        inputs: The inputs of the signature `raw`; empty in versions that take -1 for a missing integer.
        packed: The inputs of `raw` in each input of the signature `packed`, in their order; empty without it.
        classes: Names of the classes in the order of the outputs; empty for a regression or an older version.
        positive: The positive class of a binary problem, the last of the classes; '' otherwise.
        threshold: Lowest probability that decides for the positive class; None: the most likely class is the decision.
        missing: The cells that mean "no value" in the pipeline's CSV files.
        delimiter: Of the pipeline's CSV files.
        encoding: Of the pipeline's CSV files.
        decimal: The decimal mark of the pipeline's CSV files.
        amounts: The form of the numbers in columns of amounts, see `number_text.AMOUNTS`.
        dates: The form of each column of dates, where the features are Benison's own.
        vocabularies: The columns of vocabularies of the version, in their order, by the name of the vocabulary.
        spans: The spans of the run, ascending.
        span_hashes: The hash of each span's files by its number; empty before spans could be replaced.
        members: The ensemble's members, in its order.
        combiner: The kind of the combiner.
        weights: Weight by member; empty for combiners without weights.
        calibration: The fitted calibration; None without one.
        contributions: What EnsembleBuilder decided about each member.
        blessed: True if every rule of Blessing passed; None if nobody judged it.
        verdicts: One for each rule of Blessing.
        weight: The sample weights of the metrics; None if all rows count the same.
        metric: The metric that verdicts use.
        metrics: Values on `test` by model and metric; None where a metric is undefined.
        gains: What the ensemble gains over each member.
        without: The ensemble without each member.
        slices: Quality by slice of the test rows.
        larger_is_better: Of the metric; None in an older version.
        purpose: What the model is for, as the YAML says; '' if it does not.
        limits: What it is not for, or not good at, as the YAML says.
        rows: The number of rows by split; empty in an older version.
        data_files: The SHA-256 of each data file by its path, relative to the YAML where it can be; None if it was too
            large to hash. Empty with spans, whose hashes are in `span_hashes`.
        warnings: What the run warned of about the data.
        interval: The interval of a regression's answers; None for classes, in an older version, or if the rows were too
            few.
        baseline: The served version that it was compared with.
        serving: What ServingValidator found.
        lite: The TensorFlow Lite file; None if the pipeline asks for none.
        hashes: SHA-256 by what the model came from: schema, transform, code, config.
        made_from: What `benison reproduce` needs: the config with the values of the run, hashes of the code and the
            schema, versions of packages, the machine; empty in an older version.
        unproven: Members that were trained elsewhere and may have learnt from rows of `test`.
        fan_out: The versions of the members that were pushed with it; empty for one fused model.
        member_of: The ensemble that it is a member of; None for a model of its own.
        republished: Its origin, if it is an older version published once more.
    """

    format: int = 1
    version: int | None = None
    created: str = ""
    candidate: str = ""
    files: Mapping[str, FileRecord] = Field(default_factory=dict)
    bytes: int | None = None
    name: str = ""
    source: str = ""
    run: str = ""
    label: str = ""
    problem: str = ""
    inputs: Mapping[str, RawInput] = Field(default_factory=dict)
    packed: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    classes: tuple[str, ...] = ()
    positive: str = ""
    threshold: float | None = None
    missing: tuple[str, ...] = ("",)
    delimiter: str = ","
    encoding: str = "utf-8"
    decimal: str = "."
    amounts: Mapping[str, str] = Field(default_factory=dict)
    dates: Mapping[str, DateForm] = Field(default_factory=dict)
    vocabularies: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    spans: tuple[int, ...] = ()
    span_hashes: Mapping[str, str] = Field(default_factory=dict)
    members: tuple[str, ...] = ()
    combiner: str = ""
    weights: Mapping[str, float | None] = Field(default_factory=dict)
    calibration: Mapping[str, Any] | None = None
    contributions: tuple[MemberContribution, ...] = ()
    blessed: bool | None = None
    verdicts: tuple[RuleVerdict, ...] = ()
    weight: SampleWeights | None = None
    metric: str = ""
    metrics: Mapping[str, Mapping[str, float | None]] = Field(default_factory=dict)
    gains: Mapping[str, Gain] = Field(default_factory=dict)
    without: Mapping[str, WithoutMember] = Field(default_factory=dict)
    slices: Mapping[str, Slice] = Field(default_factory=dict)
    larger_is_better: bool | None = None
    purpose: str = ""
    limits: tuple[str, ...] = ()
    rows: Mapping[str, int] = Field(default_factory=dict)
    data_files: Mapping[str, str | None] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    interval: AnswerInterval | None = None
    baseline: ServedBaseline | None = None
    serving: ServingCertificate | None = None
    lite: LiteFile | None = None
    hashes: Mapping[str, str | None] = Field(default_factory=dict)
    made_from: Mapping[str, Any] = Field(default_factory=dict)
    unproven: tuple[str, ...] = ()
    fan_out: Mapping[str, PinnedMember] = Field(default_factory=dict)
    member_of: str | None = None
    republished: Republished | None = None

    def to_json(self) -> str:
        """Return the text of `manifest.json`: sorted keys, strict JSON."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True, allow_nan=False) + "\n"


def parse(content: str | bytes, source: str) -> Manifest:
    """Read a manifest of this or an older format.

    Args:
        content: The text of `manifest.json`.
        source: Where it is, for messages.

    Raises:
        ValueError: It is not a JSON object.
        VersionError: A newer Benison wrote it, or it does not follow its own format.
    """
    data = json.loads(content)
    if not isinstance(data, dict):
        raise ValueError(f"{source}: expected a JSON object")
    version = data.get("format", 1)
    # Anything else under this key is another tool's.
    has_format = isinstance(version, int) and "format" in data
    if has_format and version > FORMAT:
        raise VersionError(
            f"{source}: format {version} was written by a newer Benison, and this one reads up to {FORMAT}; "
            "update Benison to use this version"
        )
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        if has_format:
            raise VersionError("\n".join(f"{source}: {_mistake(mistake)}" for mistake in error.errors())) from None
        # Another tool's manifest may use the same keys for something else.
        unusable = {mistake["loc"][0] for mistake in error.errors()}
        return Manifest.model_validate({key: value for key, value in data.items() if key not in unusable})


def _mistake(mistake: Any) -> str:
    return f"{'.'.join(map(str, mistake['loc']))}: {mistake['msg']}"
