"""A pushed version explains its answers: by `predict --explain`, the model server, its card and its importances."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benison.serving import predict
from benison.serving.explanations import background
from benison.serving.files import checksum
from benison.serving.promotion import labels
from benison.serving.versions import local
from tests.integration.conftest import Project
from tests.integration.model_server import Server, entry, publish, running
from tests.integration.model_server import config as models

PATH = "/benison/explain/birds"
COLUMNS = {"island", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "sex", "year"}
ROW = {
    "island": "Dream",
    "bill_length_mm": 46.5,
    "bill_depth_mm": 17.9,
    "flipper_length_mm": 192,
    "body_mass_g": 3500,
    "sex": "female",
    "year": 2008,
}


@pytest.fixture(scope="module")
def version(pushed: Project) -> local.Version:
    served = labels.served(pushed.base)
    assert served is not None
    return served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, version: local.Version, made: dict[int, Path]) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("explaining")
    publish(made[1], folder / "plain", 1)
    config = folder / "models.config"
    entries = [entry("birds", version.path.parent), entry("plain", folder / "plain")]
    config.write_text(models(entries))
    with running(folder, f"--model_config_file={config}") as server:
        server.ask("GET", "/v1/models/birds")
        yield server


def test_a_push_keeps_rows_of_train_with_their_checksum(version: local.Version) -> None:
    rows = background.read(version.path)
    assert rows is not None
    assert {len(values) for values in rows.values()} == {64}
    assert set(rows) == set(version.manifest.inputs)
    assert background.PLACE in version.manifest.files


def test_a_push_writes_a_model_card_and_the_command_prints_it_with_the_number(
    pushed: Project, version: local.Version
) -> None:
    text = (version.path / "card.md").read_text()
    assert "card.md" in version.manifest.files
    assert version.manifest.rows.keys() == {"train", "valid", "blend", "test"}
    assert f"- Rows: train {version.manifest.rows['train']}, " in text
    assert version.manifest.data_files == {"penguins.csv": checksum.of_file(pushed.csv)}
    assert "| island=Dream |" in text
    for target in ("birds", f"birds/{version.number}", str(version.number)):
        said = pushed.benison("card", target)
        assert said.returncode == 0, said.stderr
        assert said.stdout.startswith(f"# Model card: birds version {version.number}\n")
    assert "no model has a version 5" in pushed.benison("card", "5").stderr


def test_a_run_measures_what_each_column_is_worth(pushed: Project) -> None:
    (file,) = pushed.root.parents[1].glob("pipelines/.benison/artifacts/birds/ColumnImportance/importances/*/*.json")
    found = json.loads(file.read_text())
    assert "ensemble" in found["models"]
    losses = found["models"]["ensemble"]
    assert set(losses) == COLUMNS
    assert max(losses, key=lambda name: losses[name]["lost"]) in (
        "bill_length_mm",
        "bill_depth_mm",
        "flipper_length_mm",
    )
    assert all(loss["low"] <= loss["lost"] <= loss["high"] for loss in losses.values())


def test_predict_shows_the_shares_of_columns_which_add_up(pushed: Project, version: local.Version) -> None:
    with pushed.csv.open(newline="") as file:
        rows = [dict(row) for row in csv.DictReader(file)][:4]
    rows[1] |= {"island": "Atlantis", "sex": ""}
    with pytest.warns(predict.UnseenValues, match="Atlantis"):
        predictions, cost = predict.explain(version, rows)
    assert cost.background_rows == 64
    assert cost.calls < 10 < cost.scored_rows
    for prediction in predictions:
        explanation = prediction.explanation
        assert explanation is not None
        assert explanation.of == prediction.decision
        assert explanation.answer == pytest.approx(prediction.output[prediction.decision], abs=1e-5)
        assert set(explanation.shares) <= COLUMNS
        assert sum(explanation.shares.values()) == pytest.approx(explanation.answer - explanation.mean, abs=1e-9)
    said = pushed.benison("predict", "birds", "--csv", "penguins.csv", "--explain", "--output", "shares.jsonl")
    assert said.returncode == 0, said.stderr
    first = json.loads((pushed.folder / "shares.jsonl").read_text().splitlines()[0])
    shares = {name: value for name, value in first.items() if name.startswith("share ")}
    assert len(shares) == len(predictions[0].explanation.shares)
    assert "background rows in" in said.stdout


def test_the_server_explains_as_predict_does(server: Server, version: local.Version) -> None:
    (prediction,), _ = predict.explain(version, [ROW])
    code, answer = server.ask("POST", PATH, {"instances": [ROW]})
    assert code == 200, answer
    assert (answer["model"], answer["version"]) == ("birds", version.number)
    (explanation,) = answer["explanations"]
    expected = prediction.explanation
    assert expected is not None
    assert explanation["of"] == expected.of
    assert explanation["shares"] == pytest.approx(dict(expected.shares), abs=1e-4)
    assert sum(explanation["shares"].values()) == pytest.approx(explanation["answer"] - explanation["mean"], abs=1e-9)
    assert answer["scored_rows"] > answer["model_calls"] > 1
    assert answer["seconds"] > 0


@pytest.mark.parametrize("of", ["", "/versions/{number}", "/labels/stable"])
def test_a_version_or_label_can_be_named_as_for_predict(server: Server, version: local.Version, of: str) -> None:
    code, answer = server.ask("GET", PATH + of.format(number=version.number))
    if of == "/labels/stable":
        assert code != 200  # this server has no label
        return
    assert code == 200, answer
    assert answer["version"] == version.number
    assert set(answer["columns"]) <= COLUMNS
    assert (answer["background_rows"], answer["max_rows"]) == (64, 100)


@pytest.mark.parametrize(
    ("path", "body", "code", "message"),
    [
        ("/benison/explain/plain", {"instances": [1.0]}, 404, "it has no signature raw"),
        ("/benison/explain/nothing", {"instances": [ROW]}, 404, "Servable not found"),
        (PATH, {"instances": [ROW] * 101}, 400, "got 101 rows to explain, expected 1 to 100"),
        (PATH, {"instances": []}, 400, ""),
        (PATH, {"instances": [{**ROW, "iland": "Dream"}]}, 400, "iland"),
        (PATH, {"signature_name": "members", "instances": [ROW]}, 400, "explanations are of raw"),
        (PATH, b"{", 400, "JSON"),
    ],
)
def test_what_cannot_be_explained_is_refused(server: Server, path: str, body: Any, code: int, message: str) -> None:
    got, answer = server.ask("POST", path, body)
    assert (got, message in answer["error"]) == (code, True), answer


def test_rows_are_explained_while_requests_are_answered(server: Server) -> None:
    done: list[int] = []
    body = {"instances": [ROW] * 10}
    asking = [threading.Thread(target=lambda: done.append(server.ask("POST", PATH, body)[0])) for _ in range(12)]
    for thread in asking:
        thread.start()
    while not done:
        code, _ = server.post("birds:predict", {"signature_name": "raw", "instances": body["instances"][:1]})
        assert code == 200
    for thread in asking:
        thread.join()
    assert set(done) <= {200, 503}  # more than a few at a time get "try again later"
    assert 200 in done
