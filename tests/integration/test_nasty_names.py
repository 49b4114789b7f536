"""A table whose columns and classes have nasty names, from `init` to every server: each name is only data."""

from __future__ import annotations

import asyncio
import csv
import json
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import yaml

from benison.serving import predict as prediction
from benison.serving.client import GrpcClient, RestClient
from benison.serving.fan_out import FanOut
from benison.serving.promotion import labels
from benison.serving.signature_names import RESERVED
from benison.serving.versions.local import Version
from tests.integration.conftest import BENISON
from tests.integration.model_server import running
from tests.integration.test_init import command

pytestmark = pytest.mark.system  # a whole run

NUMBERS = (
    *("class", "self", "None", "a.b", "a_b", "a/b", "a b", "1st", "9", "Age", "age", "age_2", "label", "classes"),
    *(
        "prediction",
        "inputs",
        "it's",
        "größe",
        "年齢",
        "🙂",
        " lead",
        "trail ",
        "*",
        "%s",
        "{x}",
        "$ref",
        "x\\y",
        "a\tb",
    ),
    *("__init__", "name", "true", "SELECT", "l" * 300, "two\nlines", "\u2028"),
)
CATEGORIES = ("lambda", "examples", 'say "x"', "probabilities")
LABEL = "the outcome, per row"
NO, YES = 'not\nso "good"', f"as\tgood {'as gold' * 40}"
ROWS = 500


@dataclass(frozen=True)
class Odd:
    folder: Path
    rows: list[dict[str, Any]]
    version: Version


def write(folder: Path) -> list[dict[str, Any]]:
    """Write the table, in which every column knows a little of the label; return its rows by column."""
    chance = random.Random(4)
    rows: list[dict[str, Any]] = []
    for _ in range(ROWS):
        good = chance.random() < 0.4
        numbers = {name: round(chance.gauss(0.4 * good, 1), 3) for name in NUMBERS}
        texts = {name: chance.choice(["red", "blue", "green" if good else "grey"]) for name in CATEGORIES}
        rows.append({**numbers, **texts, LABEL: YES if good else NO})
    with (folder / "odd.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return rows


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Odd:
    folder = tmp_path_factory.mktemp("odd")
    rows = write(folder)
    started = command(BENISON, folder, "init", "odd", "--csv", "odd.csv", "--label", LABEL)
    assert started.returncode == 0, started.stderr
    file = folder / "odd.yaml"
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    config["slices"] = list(CATEGORIES)
    config["ensemble"]["members"] = {"linear": {"epochs": 12, "hyperparameters": {"learning_rate": 0.03}}}
    config["blessing"] = {"resamples": 200}
    config["serving"] = {"fan_out": True, "budget": {"load_s": 600, "p99_ms": 5000}}
    file.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    run = command(BENISON, folder, "run", "odd")
    assert run.returncode == 0, run.stdout + run.stderr
    for name in CATEGORIES:
        assert re.search(rf"^{re.escape(name)}=red ", run.stdout, re.MULTILINE), run.stdout
    version = labels.served(folder / ".benison/serving/odd")
    assert version is not None
    return Odd(folder, [{name: row[name] for name in (*NUMBERS, *CATEGORIES)} for row in rows[:20]], version)


def answers(odd: Odd) -> Any:
    """Return the probabilities [rows, 2] that `predict` gives for the rows by their own names."""
    return np.array([list(one.output.values()) for one in prediction.predict(odd.version, odd.rows)])


def example(row: dict[str, Any]) -> bytes:
    """Return a row as a tf.Example, whose features have the names of the columns."""
    made = tf.train.Example()
    for name, value in row.items():
        if isinstance(value, str):
            made.features.feature[name].bytes_list.value.append(value.encode())
        else:
            made.features.feature[name].float_list.value.append(value)
    return bytes(made.SerializeToString())


def test_the_model_says_which_column_an_input_is(odd: Odd) -> None:
    arguments = odd.version.arguments
    assert arguments.keys() == {*NUMBERS, *CATEGORIES}
    assert all(re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name) and name not in RESERVED for name in arguments.values())
    assert len({name.lower() for name in arguments.values()}) == len(arguments)
    assert (arguments["class"], arguments["age_2"], arguments["lambda"]) == ("x_class", "age_2", "x_lambda")


def test_the_classes_are_those_of_the_table(odd: Odd) -> None:
    assert set(odd.version.manifest.classes) == {NO, YES}
    assert set(prediction.predict(odd.version, odd.rows[:1])[0].output) == {NO, YES}
    assert {one.decision for one in prediction.predict(odd.version, odd.rows)} <= {NO, YES}


def test_predict_takes_the_columns_from_json_and_csv(odd: Odd) -> None:
    (odd.folder / "rows.json").write_text(json.dumps(odd.rows), encoding="utf-8")
    by_json = command(BENISON, odd.folder, "predict", "odd", "--json", "rows.json")
    assert by_json.returncode == 0, by_json.stderr
    by_csv = command(BENISON, odd.folder, "predict", "odd", "--csv", "odd.csv")
    assert by_csv.returncode == 0, by_csv.stderr
    shown = [line for line in by_json.stdout.splitlines() if re.match(r"\d+ ", line)]
    assert shown == [line for line in by_csv.stdout.splitlines() if re.match(r"\d+ ", line)][: len(odd.rows)]
    (odd.folder / "bad.json").write_text(json.dumps([{**odd.rows[0], "class": [[1]]}]), encoding="utf-8")
    refused = command(BENISON, odd.folder, "predict", "odd", "--json", "bad.json")
    assert (refused.returncode, refused.stderr.strip()) == (
        1,
        "row 1, column 'class': got [[1]], expected a finite number",
    )


def test_every_server_path_takes_the_columns_own_names(odd: Odd, tmp_path: Path) -> None:
    config = odd.folder / ".benison/serving/models.config"
    flags = (f"--model_config_file={config}", "--allow_version_labels_for_unavailable_models=true")
    columns = {name: [row[name] for row in odd.rows] for name in odd.rows[0]}
    types = {name: object if name in CATEGORIES else np.float32 for name in columns}
    arrays = {name: np.array(values, types[name]) for name, values in columns.items()}
    by_argument = {odd.version.arguments[name]: values for name, values in arrays.items()}
    records = np.array([example(row) for row in odd.rows], object)

    async def ask(port: int, rest_port: int) -> dict[str, Any]:
        target = f"127.0.0.1:{port}"
        async with GrpcClient(target) as grpc, RestClient(port=rest_port) as rest:
            (examples,) = (await grpc.metadata("odd"))["serving_default"].inputs
            assert examples == "serialized_examples", "a column is called `examples`"
            by_row = await rest.predict("odd", instances=odd.rows, signature="raw")
            by_column = await rest.predict("odd", inputs=columns, signature="raw")
            async with FanOut.of_version(odd.version, target, deadline_s=30) as apart:
                fanned = await apart.predict(arrays)
            return {
                "rows over REST": [row["probabilities"] for row in by_row],
                "columns over REST": by_column["probabilities"],
                "columns over gRPC": (await grpc.predict("odd", arrays, signature="raw"))["probabilities"],
                "inputs over gRPC": (await grpc.predict("odd", by_argument, signature="raw"))["probabilities"],
                "examples over gRPC": (await grpc.predict("odd", {examples: records}))["probabilities"],
                "members": fanned.values,
            }

    with running(tmp_path, *flags) as server:
        paths = asyncio.run(ask(server.port, server.rest))
        code, refused = server.post(
            "odd:predict", {"signature_name": "raw", "instances": [{**odd.rows[0], "a.b": "1"}]}
        )
    assert code == 400
    assert "key: a.b of 'instances' list" in refused["error"]
    expected = answers(odd)
    assert len({tuple(row) for row in expected.round(4).tolist()}) > 10, "the rows are different"
    for path, values in paths.items():
        np.testing.assert_allclose(values, expected, atol=1e-5, err_msg=path)


def test_every_column_reaches_the_model_under_its_own_name(odd: Odd) -> None:
    row = odd.rows[0]
    changed = [{**row, name: 3.0 if name in NUMBERS else "unheard of"} for name in (*NUMBERS, *CATEGORIES)]
    with pytest.warns(prediction.UnseenValues, match="'unheard of'"):
        first, *others = prediction.predict(odd.version, [row, *changed])
    for name, other in zip((*NUMBERS, *CATEGORIES), others, strict=True):
        assert other.output != first.output, name
