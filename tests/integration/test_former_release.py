"""A ROOT that the former release wrote is read, served, rolled back and copied as it is."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import fsspec
import pytest
from typer.testing import CliRunner

from benison.pipelines import cli
from benison.serving.predict import predict
from benison.serving.promotion import labels
from benison.serving.promotion import promote as promotion
from benison.serving.versions import local, remote, sets
from tests.integration.model_server import signatures_alone
from tests.integration.test_serve import serving

REPOSITORY = Path(__file__).parents[2]
ARCHIVE = REPOSITORY / "tests" / "data" / "former_release" / "root.tar.xz"
WRITTEN_AS = "/srv/former/root"  # the absolute path of the ROOT in its own files
ROW = {
    "island": "Dream", "bill_length_mm": 40.0, "bill_depth_mm": 18.0, "flipper_length_mm": 190, "sex": "male",
    "year": 2008,
}  # fmt: skip
FUSED, FAN_OUT = 1795912967, 1795914175
MEMBERS = ("penguins-deep", "penguins-linear", "penguins-quadratic")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    root = tmp_path / "root"
    for file in (root / "serving" / "models.config", *root.glob("runs/*/run.json")):
        file.write_text(file.read_text().replace(WRITTEN_AS, str(root)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "250")
    return root


def benison(root: Path, *words: str) -> str:
    done = CliRunner().invoke(cli.app, [*words, "--root", str(root)])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def test_its_runs_and_versions_are_listed(root: Path) -> None:
    assert benison(root, "runs").count("pushed") == 2
    versions = benison(root, "versions", "penguins")
    assert f"{FUSED}" in versions
    assert f"{FAN_OUT}  stable" in versions
    assert "linear, quadratic, deep" in versions
    assert "blessed push" in benison(root, "versions", "penguins", "--history")


def test_requests_for_its_versions_share_runs(root: Path) -> None:
    folders = [version.path for name in ("penguins", *MEMBERS) for version in local.versions(root / "serving" / name)]
    assert [signatures_alone(folder) for folder in folders] == [{}] * 5


def test_its_versions_are_verified_and_compared(root: Path) -> None:
    assert f"penguins {FAN_OUT}: 12 files, all as they were pushed" in benison(root, "verify", "penguins")
    assert f"penguins {FUSED}: 12 files" in benison(root, "verify", "penguins", str(FUSED))
    difference = benison(root, "diff", "penguins", str(FUSED), str(FAN_OUT))
    assert "member deep" in difference
    assert "ensemble accuracy" in difference


def test_it_is_rolled_back_and_promoted(root: Path) -> None:
    base = root / "serving" / "penguins"
    assert f"penguins: version {FUSED} is stable, in place of {FAN_OUT}" in benison(root, "rollback", "penguins")
    assert labels.served(base).number == FUSED
    benison(root, "promote", "penguins", str(FAN_OUT))
    assert labels.served(base).number == FAN_OUT


def test_its_manifests_keep_every_key(root: Path) -> None:
    for file in root.glob("serving/*/*/manifest.json"):
        manifest = local.read_manifest(file.parent)
        assert (manifest.format, manifest.model_extra) == (1, {})
        assert manifest.to_json() == file.read_text()
    fan_out = local.get(root / "serving" / "penguins", FAN_OUT)
    assert sets.member_versions(fan_out) == dict.fromkeys(MEMBERS, FAN_OUT)


def test_it_is_published_again_in_the_present_format(root: Path) -> None:
    base = root / "serving" / "penguins"
    version = promotion.republish(base, FAN_OUT, who="ann", why="servers without models.config")
    before = json.loads((base / str(FAN_OUT) / "manifest.json").read_text())
    after = json.loads((version.path / "manifest.json").read_text())
    changed = {"version", "created", "fan_out"}
    assert after.keys() == {*before, "format", "republished"}
    assert {key: after[key] for key in before.keys() - changed} == {key: before[key] for key in before.keys() - changed}
    assert local.identity(version) == f"{version.number}:{before['candidate']}"


def test_it_is_copied_to_a_store_and_back(root: Path, tmp_path: Path) -> None:
    base, store = root / "serving" / "penguins", f"memory://former/{tmp_path.name}"
    fsspec.filesystem("memory").makedirs("/former", exist_ok=True)
    remote.publish(base, FAN_OUT, store)
    fetched = remote.fetch(tmp_path / "other" / "serving" / "penguins", FAN_OUT, store)
    assert fetched.manifest == local.get(base, FAN_OUT).manifest
    assert (fetched.path / "manifest.json").read_bytes() == (base / str(FAN_OUT) / "manifest.json").read_bytes()


def test_it_predicts_with_minus_one_for_a_missing_integer(root: Path) -> None:
    version = local.get(root / "serving" / "penguins", FAN_OUT)
    masses = predict(version, [{**ROW, "body_mass_g": mass} for mass in (-1, None, "", 4000)])
    assert masses[0] == masses[1] == masses[2] != masses[3]


def test_it_predicts(root: Path) -> None:
    examples = REPOSITORY / "configs" / "examples" / "penguins.csv"
    assert "Adelie" in benison(root, "predict", "penguins", "--csv", str(examples), "--members")


def test_its_versions_are_damaged_without_their_manifest_and_neither_predict_nor_are_promoted(root: Path) -> None:
    base = root / "serving" / "penguins"
    (base / str(FUSED) / "manifest.json").unlink()
    examples = REPOSITORY / "configs" / "examples" / "penguins.csv"
    vocabulary = next(path for path in (base / str(FAN_OUT) / "assets").iterdir() if path.is_file())
    vocabulary.write_text("".join(reversed(vocabulary.read_text().splitlines(keepends=True))))
    for words in (["rollback", "penguins"], ["promote", "penguins", str(FUSED)], ["verify", "penguins", str(FUSED)]):
        done = CliRunner().invoke(cli.app, [*words, "--root", str(root)])
        assert done.exit_code != 0, done.output
    assert "damaged" in benison(root, "versions", "penguins")
    done = CliRunner().invoke(cli.app, ["predict", "penguins", "--csv", str(examples), "--root", str(root)])
    assert done.exit_code == 1
    said = benison(root, "predict", "penguins", "--csv", str(examples), "--no-verify")
    assert "(not verified)" in said


def test_it_is_served(root: Path) -> None:
    with serving(root, "penguins") as server:
        assert f"serving penguins, version {FAN_OUT}" in server.output()
        (answer,) = server.answer_to_curl_line("penguins")["predictions"]
        assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-5)
        # It takes -1 for a missing integer, which its manifest does not say.
        assert local.get(root / "serving" / "penguins", FAN_OUT).manifest.inputs == {}
        answers = [server.predict("penguins", {**ROW, "body_mass_g": mass})[0] for mass in (-1, None, 4000)]
        assert answers[0] == answers[1] != answers[2]
