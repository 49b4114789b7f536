"""`benison init`: create a pipeline's YAML and schema from a file of rows, with comments, ready to run."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from benison.components.evaluate.metrics import default_metric
from benison.components.ingest.csv_table import CsvTable
from benison.components.ingest.split_keys import Roles, SplitKeys
from benison.components.ingest.splits import split_index
from benison.components.label_classes import TAG
from benison.components.train.trees.settings import MANY_CLASSES
from benison.pipelines import json_schema
from benison.pipelines.config import Splits, strict_yaml
from benison.pipelines.config.sections import Validation
from benison.pipelines.starting import overrides
from benison.pipelines.starting.guess import Guess, look
from benison.pipelines.starting.kinds import GuessedColumn
from benison.serving.close_names import did_you_mean
from benison.serving.errors import UsageError
from benison.serving.files import atomic_file
from benison.serving.rows.tables import CSV
from benison.serving.visible_text import visible_line

NAME = re.compile("[a-z][a-z0-9_-]*")
_JUDGED_ROWS = 30  # of test; with fewer, only a model that is nearly always right can be told from a guess
FEW_ROWS = 1000  # below this, the usual shares may leave a split empty
SHARES = ((6, 1, 1, 2), (3, 1, 1, 1), (2, 1, 1, 1), (4, 2, 1, 2), (3, 1, 2, 2), (5, 2, 2, 3), (1, 1, 1, 1))
SAMPLE = 1_000_000  # rows that are looked at
# Names of what several rows may be about.
_SOMEBODY = re.compile(
    r"(?:^|[\W_])(?:customer|client|user|patient|subject|person|household|account|visitor|device)s?(?:$|[\W_])",
    re.IGNORECASE,
)
SOLVED_ROWS = 50_000  # rows below which a linear member is solved in memory; above, a network of one layer learns
FITTED_ROWS = 40  # rows with a label from which weights of the members are fitted
MIN_ROWS = 2  # rows that each split should have


@dataclass(frozen=True)
class NewPipeline:
    """The result of `init`.

    Attributes:
        guess: the guess about the file.
        splits: the chosen hash buckets.
        files: the files written, the YAML first.
    """

    guess: Guess
    splits: Splits
    files: tuple[Path, ...]

    def lines(self) -> Iterator[str]:
        """Yield the guesses and their reasons, one line per fact; values may have line breaks."""
        return map(visible_line, self._facts())

    def _facts(self) -> Iterator[str]:
        guess, label = self.guess, self.guess.label
        marks = ", ".join(map(repr, guess.missing))
        rows = f"{guess.rows} rows" if guess.is_whole else f"the first {guess.rows:,} rows; --sample looks at more"
        dialect = f"encoding {guess.encoding}, delimiter {guess.delimiter!r}" if guess.form == CSV else guess.form
        yield f"{guess.csv}: {rows}, {dialect}"
        if guess.decimal == ",":
            yield "numbers use a decimal comma (data.decimal)"
        yield f"cells that mean 'no value': {marks} (data.missing)"
        yield f"label {label.name!r}: {guess.problem}, {label.why}"
        if guess.positive:
            yield f"positive class {guess.positive!r}: {guess.why_positive} (positive)"
        names = [visible_line(column.name) for column in guess.columns]
        width = max(map(len, names))
        for name, column in zip(names, guess.columns, strict=True):
            yield f"  {name:{width}}  {column.kind:8}  {_remark(column)}"
        withheld = {guess.by, *(column.name for column in guess.columns if column.weight)}
        ignored = [column for column in guess.columns if column.kind == "ignore" and column.name not in withheld]
        if ignored:
            usable = next((column for column in ignored if column.usable_as), None)
            use = f" (columns.{usable.name}: {usable.usable_as}, for example, uses it)" if usable is not None else ""
            yield f"left out: {', '.join(visible_line(column.name) for column in ignored)}{use}"
        yield from guess.remarks
        if group := _group(guess):
            yield (
                f"{group}: several rows have the same value; if the model is for new ones, set splits.by: {group}, and "
                "their rows are never in two splits"
            )
        for column in guess.columns:
            if column.repeated_id:
                yield f"{column.name}: for later rows of the same ones, use columns.{column.name}: hashed"
        if self.splits != Splits(train=6, valid=1, blend=1, test=2):
            yield f"splits {_flow(self.splits.buckets)}: with so few rows, the usual splits could be empty"
        share = self.splits.test / sum(self.splits.buckets.values())
        judged = share * guess.rows * (1 - label.missing)
        if guess.is_whole and judged < _JUDGED_ROWS:
            yield (
                f"test has about {judged:.0f} rows, too few to judge most models by: the run may end as 'too few rows "
                "to judge'; add rows, or give test more of them (splits.test)"
            )
        yield f"wrote {', '.join(map(str, self.files))}"


def create(
    name: str,
    csv: Path,
    label: str,
    problem: str | None = None,
    force: bool = False,
    *,
    spans: bool = False,
    time: str | None = None,
    sample: int | None = SAMPLE,
    settings: Mapping[str, str] = MappingProxyType({}),
    weight: str | None = None,
) -> NewPipeline:
    """Read a file of rows and write NAME.yaml, schemas/NAME.pbtxt and the YAML's JSON schema into the current folder.

    Args:
        name: the pipeline's name.
        csv: the file: CSV, JSON lines or Parquet.
        label: the column to predict.
        problem: binary, multiclass or regression; None guesses it.
        force: overwrite existing files.
        spans: the data arrives span by span; the YAML then has `spans:` and names no file.
        time: the column to order the rows by; None takes a date, if there are spans.
        sample: the number of rows to look at; None for all.
        settings: values of `--set`, as YAML text, by dotted key of the YAML; what a guess needs is not guessed then.
        weight: the column of the sample weights; None for none.

    Raises:
        UsageError: the name is not allowed, there is no such column or no column of times, or a file already exists.
        DataError: the file cannot be read, or it has nothing to learn from.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"{name}: expected a name of a-z, 0-9, '_' and '-' that begins with a letter")
    config, schema, editor = Path(f"{name}.yaml"), Path(f"schemas/{name}.pbtxt"), Path("schemas/benison.schema.json")
    existing = [str(file) for file in (config, schema) if file.exists()]
    if existing and not force:
        raise UsageError(f"{', '.join(existing)}: already exists; use --force to overwrite it")
    given = overrides.parse(settings)
    guess = look(csv, label, overrides.fixed(given, problem, weight), sample)
    splits = choose_splits(guess)
    order = _time_column(guess, time, spans=spans)
    content = overrides.applied(given, yaml_text(name, guess, splits, editor, order, spans=spans), config.absolute())
    schema.parent.mkdir(exist_ok=True)
    for file, text in ((editor, json_schema.text()), (schema, schema_text(guess)), (config, content)):
        atomic_file.write(file, text)
    return NewPipeline(guess, splits, (config, schema, editor))


def choose_splits(guess: Guess) -> Splits:
    """Return the usual shares; with few rows, the first shares that give each split `MIN_ROWS`, or else the best."""
    best = SHARES[0]
    if guess.rows < FEW_ROWS:
        keys = _split_keys(guess)
        smallest = {shares: _smallest(keys, shares) for shares in SHARES}
        enough = (shares for shares in SHARES if smallest[shares] >= MIN_ROWS)
        best = next(enough, max(SHARES, key=lambda shares: smallest[shares]))
    return Splits.model_validate(dict(zip(("train", "valid", "blend", "test"), best, strict=True)))


def _split_keys(guess: Guess) -> list[Sequence[str]]:
    """Return the text of each row that decides its split, as for CsvExampleGen."""
    table = CsvTable((str(guess.csv),), delimiter=guess.delimiter, encoding=guess.encoding)
    weight = next((column.name for column in guess.columns if column.weight), "")
    roles = Roles(table.header, guess.missing, guess.label.name, weight)
    rows = [roles.row(row) for row in table.rows()]
    keys = SplitKeys(rows)
    return [keys.of(number, row) for number, row in enumerate(rows)]


def _smallest(keys: Sequence[Sequence[str]], shares: Sequence[int]) -> int:
    counts = [0] * len(shares)
    for key in keys:
        counts[split_index(key, shares)] += 1
    return min(counts)


def yaml_text(
    name: str, guess: Guess, splits: Splits, editor: Path, time: GuessedColumn | None = None, *, spans: bool = False
) -> str:
    """Return the YAML, with a comment on each choice.

    Args:
        name: the pipeline's name.
        guess: the guess about the file.
        splits: the chosen hash buckets.
        editor: path of the YAML's JSON schema.
        time: the column to order the rows by; None for none.
        spans: the data arrives span by span.
    """
    metric = default_metric(guess.problem)
    # With few rows the loss on `valid` is noisy, so training needs more patience.
    epochs, batch, patience = (
        (100, 32, 12) if guess.rows < 2000 else (40, 64, 8) if guess.rows < 50_000 else (15, 512, 4)
    )
    linear = f"""\
      epochs: {epochs}
      batch_size: {batch}
      patience: {patience}
      hyperparameters: {{learning_rate: 0.01}}"""
    if guess.rows < SOLVED_ROWS:
        linear = """\
      kind: linear  # a linear or logistic regression, solved exactly
      hyperparameters: {l2: 1}  # the penalty of large weights"""
    bound = {"auc": "min: 0.75", "accuracy": "min: 0.8", "rmse": "max: 10"}[metric]
    columns = "\n".join(_column_lines(guess.columns))
    decimal = ""
    if guess.form == CSV:
        decimal = f"\n  delimiter: {_flow(guess.delimiter)}\n  encoding: {guess.encoding}"
    if guess.decimal != ".":
        decimal += f"\n  decimal: {_flow(guess.decimal)}"
    if guess.amounts:
        forms = {_scalar(column): form for column, form in guess.amounts.items()}
        decimal += f"\n  amounts: {_flow(forms)}  # how these columns write numbers; $, % and (…) are read too"
    files, window = f"\n  csv: {_scalar(_relative(guess.csv))}", ""
    if spans:
        files = f"  # it arrives span by span: benison span add {name} FILE"
        window = "\nspans: {}  # `window: 3` takes the newest three; `first: 2024-01, every: month` gives them dates\n"
    together = ""
    if group := _group(guess):
        together = (
            f"\n# splits: {_flow({**splits.buckets, 'by': group})}"
            f"  # rows of one {_comment(group)} are then never in two splits; it is no feature (ignore)"
        )
    positive = ""
    if guess.problem == "regression":
        positive = "\ntarget: auto  # a skewed label is learnt on a logarithmic scale where that is better; or plain"
    if guess.positive:
        positive = f"\npositive: {_scalar(guess.positive)}  # {_comment(guess.why_positive)}; the schema names it too"
    if weights := [column.name for column in guess.columns if column.weight]:
        positive += (
            f"\nweight: {_scalar(weights[0])}  # how much a row counts, in training and in metrics; 0: not at all"
        )
    return f"""\
# yaml-language-server: $schema={editor}
# Written by `benison init` from {_comment(guess.csv.name)}. Everything here is a guess that you can change.
#   benison run {name}
#   benison eject {name}    copies the features and members into Python files that you can change
name: {_scalar(name)}
problem: {guess.problem}
label: {_scalar(guess.label.name)}  # {_comment(guess.label.why)}{positive}

data:{files}
  missing: {_flow(list(guess.missing))}  # cells that mean "no value"{decimal}{_time(guess, time)}
{window}
# Hash buckets: a split's share of the rows is its buckets divided by the sum. Members are trained on `train`; `valid`
# is for early stopping, `blend` for ensemble weights, `test` for the final metrics. Below 50,000 rows, members learn
# from the first three, and weights are fitted to predictions for rows that a member did not learn from.
splits: {_flow(splits.buckets)}{together}

schema: schemas/{name}.pbtxt  # the run stops if the data does not match it

# The kind of each column: number, category, hashed (text with many values), date, text (free text) or ignore. A column
# that is not listed is left out.
columns:
{columns}

{_missing_labels(guess)}metric: {metric}  # the metric of blessings and comparisons
{_slices(guess)}
ensemble:
  combiner: {_combiner(guess)}
  members:
    linear:
{linear}
    deep:
      epochs: {epochs}  # the maximum: training ends after `patience` epochs without a better loss
      batch_size: {batch}
      patience: {patience}
      hyperparameters: {{layers: 2, units: 64, dropout: 0.1, learning_rate: 0.003}}
      # To search instead of fixing values (a value must not be in both):
      # tuner: {{trials: 8, epochs: 10, space: {{units: [32, 64, 128], dropout: {{min: 0.0, max: 0.4}}}}}}
    trees:
      kind: trees  # gradient-boosted trees, which see the columns as they are
      hyperparameters: {_flow(_trees(guess))}  # at most so many: early stopping decides

# These rules always apply: better than a guess, and not worse than the served version. To add your own threshold:
# blessing:
#   rules: [{{metric: {metric}, {bound}}}]
"""


def _trees(guess: Guess) -> dict[str, Any]:
    """Return hyperparameters of trees. With many classes, trees cost more and each says less."""
    classes = len(guess.label.values) if guess.problem == "multiclass" else 0
    if classes < MANY_CLASSES:
        return {"trees": 1000, "depth": 6, "learning_rate": 0.06}
    return {"trees": 600 if classes < 50 else 200, "depth": 4, "learning_rate": 0.3}


def _group(guess: Guess) -> str:
    """Return the column whose rows with the same value belong together, such as a customer; '' if there is none.

    If the user names one, no other is proposed.
    """
    if guess.by:
        return ""
    names = (
        c.name
        for c in guess.columns
        if c.repeated_id or ((c.kind == "hashed" or c.distinct) and _SOMEBODY.search(c.name))
    )
    return next(names, "")


def _missing_labels(guess: Guess) -> str:
    """Return the line that allows as many rows without a label as the file has; '' if the default allows them."""
    missing = guess.label.missing
    if missing <= Validation.model_fields["max_missing_labels"].default:
        return ""
    limit = min(math.ceil(missing * 20 + 1) / 20, 1)
    reason = f"{missing:.1%} of the rows of the file have no label; they are skipped"
    return f"validation: {{max_missing_labels: {limit:g}}}  # {reason}\n\n"


def _combiner(guess: Guess) -> str:
    """Return the combiner and why: a fitted one needs rows that are neither in `test` nor without a label."""
    if guess.rows * (1 - guess.label.missing) < FITTED_ROWS:
        return "mean  # with so few rows, no weights can be fitted"
    # Stacking also corrects members that are too sure of themselves; numbers gain nothing from its intercept.
    combiner = "weighted_mean" if guess.problem == "regression" else "stacking"
    return f"{combiner}  # its weights are fitted, and a member that brings nothing is left out"


def _column_lines(columns: Sequence[GuessedColumn]) -> Iterator[str]:
    for column in columns:
        options = {"format": column.format, "size": column.size}
        given = {"kind": column.kind, **{key: value for key, value in options.items() if value is not None}}
        kind = column.kind if len(given) == 1 else _flow(given)
        yield f"  {_scalar(column.name)}: {kind}  # {_comment(_remark(column))}"


def _remark(column: GuessedColumn) -> str:
    """Return the reason for a column's kind, and its share of missing values unless all are missing."""
    if not column.missing or column.why == "empty":
        return column.why
    return f"{column.why}; missing in {column.missing:.1%}"


def schema_text(guess: Guess) -> str:
    """Return the schema of the data (TensorFlow Metadata, text format): types, presence and domains, but no ranges.

    A column of whole numbers is INT. A label that is a number is FLOAT: it is an amount, and no prediction is whole.
    """
    parts = [
        "# The schema of the data, written by `benison init`. Data that does not match it is an anomaly and stops the",
        "# run: a changed type, a missing column, a value that is not in a domain. You can add ranges to numbers:",
        "#   float_domain { min: 0.0 max: 150.0 } or int_domain { min: 0 max: 150 }",
        "# A column of type INT takes whole numbers only; if others may come, make it FLOAT.",
    ]
    for column in (guess.label, *guess.columns):
        parts.append(_feature(column, guess, is_label=column is guess.label))
    for column in (guess.label, *guess.columns):
        if guess.is_whole and _has_domain(column):
            values = "".join(f"  value: {_quoted(value)}\n" for value in column.values)
            parts.append(f"string_domain {{\n  name: {_quoted(column.name)}\n{values}}}")
    return "\n".join(parts) + "\n"


def _feature(column: GuessedColumn, guess: Guess, *, is_label: bool) -> str:
    is_number = column.kind == "number" or column.weight
    lines = [
        f"  name: {_quoted(column.name)}",
        f"  type: {'BYTES' if not is_number else 'INT' if column.whole else 'FLOAT'}",
        f"  value_count {{ min: 1{'' if column.is_list else ' max: 1'} }}",
    ]
    if column.kind == "ignore" and not column.weight:
        lines.append(f"  lifecycle_stage: DEPRECATED  # left out: {_comment(column.why)}")
    if guess.is_whole and _has_domain(column):  # other rows may have other values
        lines.append(f"  domain: {_quoted(column.name)}")
    if is_label and guess.positive:
        lines.append(f"  annotation {{ tag: {_quoted(f'{TAG} {guess.positive}')} }}")
    if is_label:  # validation.max_missing_labels says how many rows may be without one
        lines.append("  presence { min_count: 1 }")
    elif not column.missing and guess.is_whole:
        lines.append("  presence { min_fraction: 1.0 min_count: 1 }")
    elif guess.rows >= FEW_ROWS and column.missing < 0.9 and column.kind != "ignore":
        # Fewer values may be absent by chance.
        lines.append(f"  presence {{ min_fraction: {(1 - column.missing) / 2:.2f} min_count: 1 }}")
    return "feature {\n" + "\n".join(lines) + "\n}"


def _has_domain(column: GuessedColumn) -> bool:
    return column.kind == "category" and bool(column.values)


def _time_column(guess: Guess, name: str | None, *, spans: bool) -> GuessedColumn | None:
    """Return the column that was asked for or, if there are spans, the first date; None if none is needed."""
    columns = {column.name: column for column in guess.columns}
    dates = [column for column in guess.columns if column.kind == "date"]
    if name is not None and name not in columns:
        raise UsageError(f"--time {name}: no such column, or it is the label{did_you_mean(name, columns)}")
    if spans and name is None and not dates:
        raise UsageError(
            f"--spans: {guess.csv} has no column of dates to order the rows by; name a column of times with --time "
            f"(it has {', '.join(columns)})"
        )
    return columns[name] if name is not None else dates[0] if spans else None


def _time(guess: Guess, time: GuessedColumn | None) -> str:
    """Return the lines of the time column, commented out if it is only an offer; empty if there is no date."""
    if time is not None:
        form = f"\n  time_format: {_flow(time.format)}  # {_comment(time.why)}" if time.format else ""
        return f"\n  time: {_scalar(time.name)}  # the rows are ordered by this column: `test` is the latest rows{form}"
    dates = [column for column in guess.columns if column.kind == "date"]
    if not dates:
        return ""
    form = f"\n  # time_format: {_flow(dates[0].format)}" if dates[0].format else ""
    return (
        f"\n  # time: {_scalar(dates[0].name)}  # order the rows by this column: `test` is then the latest rows{form}"
    )


def _slices(guess: Guess) -> str:
    """Return a commented-out line with slices by the first category of few values; empty if there is none."""
    names = [column.name for column in guess.columns if column.kind == "category" and not column.distinct]
    return f"# slices: {_flow(names[:1])}  # also compute metrics for each value of these columns\n" if names else ""


def _relative(csv: Path) -> str:
    """Return the path for the YAML: relative if it is below the current folder."""
    path, current = Path(os.path.abspath(csv)), Path.cwd()
    return str(path.relative_to(current)) if path.is_relative_to(current) else str(path)


def _flow(value: object) -> str:
    """Format a value in YAML's flow style."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value) if isinstance(value, str) else str(value)


def _scalar(text: str) -> str:
    """Format text as YAML, in quotes if YAML would read something else."""
    plain = re.fullmatch(r"[^\W\d][\w ./()-]*", text) and not text.endswith(" ")
    if plain and strict_yaml.parse(text).value == text:
        return text
    return yaml.dump(text, default_style='"', allow_unicode=True, width=math.inf).rstrip("\n")


def _quoted(text: str) -> str:
    """Format text for protobuf's text format: UTF-8, with C's escapes."""
    return json.dumps(text, ensure_ascii=False)


def _comment(text: str) -> str:
    """Put text on one line, with escapes for the characters that YAML does not allow, not even in comments."""
    return visible_line(" ".join(text.split()))
