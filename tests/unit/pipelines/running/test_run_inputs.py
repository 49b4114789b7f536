"""Every input of a run is compared by its content; a change of one of them is seen, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benison.pipelines import config_file
from benison.pipelines.records import whole_run
from benison.pipelines.running import run_inputs

YAML = """
name: shop
problem: binary
label: bought
data: {csv: shop.csv}
features: features.py
models: models.py
code: {files: [words.txt], env: [SHOP_SIZE]}
ensemble:
  members:
    small: {epochs: 1}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "shop.yaml").write_text(YAML)
    (tmp_path / "shop.csv").write_text("bought,price\nyes,1\nno,2\n")
    (tmp_path / "features.py").write_text(
        "import helper\n\ndef preprocessing_fn(inputs):\n    return helper.all(inputs)\n"
    )
    (tmp_path / "helper.py").write_text("def all(inputs):\n    return inputs\n")
    (tmp_path / "models.py").write_text("def small(inputs):\n    return inputs\n")
    (tmp_path / "words.txt").write_text("one")
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas/shop.pbtxt").write_text("")
    return tmp_path


def _inputs(project: Path, sets: dict[str, str] | None = None) -> dict[str, Any]:
    config = config_file.load(project / "shop.yaml", sets or {})
    return dict(run_inputs.inputs(config, project / "root", None, run_inputs.FilesRead()))


def _data_of_the_same_size_and_time(project: Path) -> None:
    csv = project / "shop.csv"
    stat = csv.stat()
    csv.write_text(csv.read_text().replace("no,2", "no,3"))
    os.utime(csv, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (csv.stat().st_size, csv.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)


def _rewrite(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(project: Path) -> None:
        text = (project / name).read_text()
        assert old in text
        (project / name).write_text(text.replace(old, new, 1))

    return change


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (_data_of_the_same_size_and_time, ["data.0"]),
        (lambda project: (project / "shop.csv").rename(project / "shop2.csv"), None),
        (_rewrite("helper.py", "return inputs", "return dict(inputs)"), ["code.features"]),
        (_rewrite("models.py", "return inputs", "return dict(inputs)"), ["code.ensemble.members.small"]),
        (_rewrite("words.txt", "one", "two"), ["code.ensemble.members.small", "code.features"]),
        (lambda project: os.environ.__setitem__("SHOP_SIZE", "8"), ["code.ensemble.members.small", "code.features"]),
        (_rewrite("schemas/shop.pbtxt", "", "# stricter\n"), ["schema"]),
        (lambda project: (project / "schemas/shop.pbtxt").unlink(), ["schema"]),
        (_rewrite("shop.yaml", "epochs: 1", "epochs: 2"), ["config.ensemble"]),
        (_rewrite("shop.yaml", "label: bought", "label: bought\nseed: 8"), ["config.seed"]),
    ],
)
def test_each_change_is_seen_and_named(
    project: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], changed: list[str] | None
) -> None:
    monkeypatch.setenv("SHOP_SIZE", "7")
    before = _inputs(project)
    assert _inputs(project) == before
    change(project)
    if changed is None:
        with pytest.raises(Exception, match=r"shop\.csv"):
            _inputs(project)
    else:
        assert list(whole_run.differences(before, _inputs(project))) == changed


def test_a_touch_a_comment_and_a_description_change_nothing(project: Path) -> None:
    before = _inputs(project)
    for file in project.glob("*.*"):
        os.utime(file, (1, 1))
    _rewrite("helper.py", "def all", "# a comment\ndef all")(project)
    _rewrite("shop.yaml", "name: shop", "name: shop\ndescription: what people buy")(project)
    assert _inputs(project) == before


def test_an_override_is_a_change(project: Path) -> None:
    assert list(whole_run.differences(_inputs(project), _inputs(project, {"seed": "8"}))) == ["config.seed"]


def test_a_new_version_of_any_package_is_seen(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = tmp_path / "site/gadget-1.0.dist-info/METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Name: gadget\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    before = _inputs(project)
    metadata.write_text("Name: gadget\nVersion: 1.1\n")
    assert list(whole_run.differences(before, _inputs(project))) == ["packages.gadget-1.0.dist-info"]


def test_a_file_that_is_written_again_during_the_comparison_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("one")
    os.utime(file, (1, 1))
    files = run_inputs.FilesRead()
    files.hash(file)
    files.refuse_changed()
    file.write_text("one")
    os.utime(file, (1, 1))
    with pytest.raises(run_inputs.Changing, match=r"rows\.csv changed"):
        files.refuse_changed()


def test_every_driver_that_adds_to_a_key_of_the_cache_is_known_here() -> None:
    """A driver can put more into a node's key: what it reads must be among the inputs of a run."""
    components = Path(run_inputs.__file__).parents[2] / "components"
    drivers = {file.stem for file in components.rglob("*.py") if "DRIVER_CLASS = " in file.read_text()}
    # The data; the served version, with and without spans; the Pusher, which is never cached.
    assert drivers == {"example_gen", "import_example_gen", "baseline", "drift", "pusher"}


# TFX and its dependencies emit warnings about one another.
@pytest.mark.filterwarnings("ignore")
def test_the_functions_of_all_nodes_are_known(project: Path) -> None:
    from google.protobuf import json_format
    from tfx.proto.orchestration import pipeline_pb2

    from benison.pipelines.code import cache_key
    from benison.pipelines.compilation import compiling

    members = """small: {epochs: 1}
    searched: {epochs: 1, function: small, tuner: {trials: 2, epochs: 1, space: {units: [1, 2]}}}
    grown: {kind: trees}
    own: {kind: trees, function: "models.py:small"}
  combiner: "models.py:small"
"""
    _rewrite("shop.yaml", "small: {epochs: 1}\n", members)(project)
    config = config_file.load(project / "shop.yaml", {})
    compiled = compiling.for_run(config, project / "root", project / "ir.json", None)
    ir = json_format.Parse(compiled.ir.read_text(), pipeline_pb2.Pipeline())
    functions = {node.pipeline_node.node_info.id: cache_key.hash_functions(node.pipeline_node) for node in ir.nodes}
    assert all(functions[node] for node in ("Transform", "Trainer.own", "EnsembleBuilder"))
    assert set(functions.values()) <= run_inputs.users_functions(config)
