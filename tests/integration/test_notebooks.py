"""The shipped notebooks run from top to bottom; exported as HTML, each of their drawings is visible without a network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbclient import NotebookClient

from benison.pipelines.config_file import ENVIRONMENT_PREFIX

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CLONE = Path(__file__).parents[2]
NOTEBOOKS = sorted((CLONE / "notebooks").glob("*.ipynb"))
SHORT = {"linear__epochs": "20", "quadratic__epochs": "12", "deep__tuner__trials": "2", "deep__tuner__epochs": "5"}
# What the text of a notebook promises, in the order of the notebooks in the documentation: each uses the ROOT of those before.
SHOWN = {
    "first_look": [
        "First rows of train",
        "flipper_length_mm",
        "Schema",
        "No anomalies",
        "Before: rows of train",
        "Transform",
    ],
    "new_member": ["linear", "wide", "Rules", "better_than_majority", "+    wide: {function: deep", "weighted_mean"],
    "served_version": ["penguins.csv", "sha256", "Pusher"],
}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(notebook: Path) -> None:
    cells = nbformat.read(notebook, as_version=4).cells
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notebooks") / "root"


@pytest.fixture(scope="module")
def executed(root: Path) -> Iterator[Mapping[str, Any]]:
    """The notebooks with their outputs, by name."""
    folder = root.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENISON_ROOT", str(root))
        for key, value in SHORT.items():
            patch.setenv(f"{ENVIRONMENT_PREFIX}ensemble__members__{key}", value)
        # jupyter_client sets the sticky bit of the folder in which it writes the connection file.
        patch.setattr(tempfile, "tempdir", str(folder))
        done = {}
        for name in (name for name in SHOWN if (CLONE / "notebooks" / f"{name}.ipynb").is_file()):
            done[name] = nbformat.read(CLONE / "notebooks" / f"{name}.ipynb", as_version=4)
            resources = {"metadata": {"path": str(folder)}}
            NotebookClient(done[name], timeout=400, kernel_name="python3", resources=resources).execute()
        yield done


def test_a_change_runs_only_what_depends_on_it(executed: Mapping[str, Any], root: Path) -> None:
    runs = sorted(
        (json.loads(file.read_text()) for file in root.glob("runs/*/run.json")), key=lambda run: run["started"]
    )
    changed = next(run for run in runs if run["sets"])
    states = {node["id"]: node["state"] for node in changed["nodes"]}
    assert {"members.wide", "ensemble.combiner"} == set(changed["sets"])
    ran = {name for name, state in states.items() if state == "complete"}
    assert {"Trainer.wide", "EnsembleBuilder", "Blessing"} <= ran
    assert {states[name] for name in ("Transform", "Trainer.linear", "Tuner.deep", "Trainer.deep")} == {"cached"}


def test_each_notebook_runs_and_shows_what_its_text_says(executed: Mapping[str, Any]) -> None:
    assert {path.stem for path in NOTEBOOKS} == set(executed)
    for name, notebook in executed.items():
        shown = "\n".join(
            str(output.get("data", {}).get("text/html", "")) + str(output.get("text", ""))
            for cell in notebook.cells
            for output in cell.get("outputs", [])
            if "vegaEmbed)" not in str(output.get("data", {}).get("text/html", ""))[:40]
        )
        assert [text for text in SHOWN[name] if text not in shown] == [], name


@pytest.mark.system
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_each_drawing_of_an_exported_notebook_is_visible(
    executed: Mapping[str, Any], browser: Browser, tmp_path: Path, theme: str
) -> None:
    from nbconvert import HTMLExporter

    # nbconvert's own page would load these scripts from other hosts.
    exporter = HTMLExporter(theme=theme, mathjax_url="", require_js_url="", jquery_url="")
    for name, notebook in executed.items():
        file = tmp_path / f"{name}.html"
        file.write_text(exporter.from_notebook_node(notebook)[0], encoding="utf-8")
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        check_page(page, file)
        page.close()


def check_page(page: Page, file: Path) -> None:
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else faults.append(r.url))
    page.goto(file.as_uri())
    charts = page.locator(".chart").all()
    assert len(charts) >= (0 if file.stem == "served_version" else 5)
    for chart in charts:
        chart.scroll_into_view_if_needed()
        chart.locator("svg").wait_for(timeout=15_000)
        assert len(colours(chart.screenshot())) > 3, f"{file.stem}: {chart.get_attribute('aria-label')} is blank"
    outputs = page.locator(".benison").all()
    assert len(outputs) >= 5
    assert [n for n, output in enumerate(outputs) if len(colours(output.screenshot())) < 3] == []
    assert faults == []


def colours(png: bytes) -> set[Any]:
    """The colours of a picture, at most 256."""
    import io

    from PIL import Image

    return {colour for _, colour in Image.open(io.BytesIO(png)).convert("RGB").quantize(256).convert("RGB").getcolors()}


INTERACTIVE = """
import sys
from IPython.testing.globalipapp import start_ipython
start_ipython()
from benison import build, load_config
from tfx.orchestration.experimental.interactive.interactive_context import InteractiveContext

root, *wanted = sys.argv[1:]
context = InteractiveContext(pipeline_root=root + "/artifacts")
done = {}
for component in build(load_config("birds.yaml"), root).components:
    if component.id in wanted:
        context.run(component, enable_cache=False)
        for key, channel in component.outputs.items():
            done[component.id + "." + key] = [artifact.uri for artifact in channel.get()]
import json
print("DONE " + json.dumps(done))
"""


@pytest.mark.system
@pytest.mark.parametrize(("kind", "ingest"), [("csv", "CsvExampleGen"), ("tfrecord", "ImportExampleGen")])
def test_interactive_context_of_tfx_runs_our_components(tmp_path: Path, kind: str, ingest: str) -> None:
    rows = [{"size": n, "kind": ("cat", "dog")[n % 2], "adopted": ("yes", "no", "no")[n % 3]} for n in range(60)]
    WRITERS[kind](tmp_path / f"birds.{kind}", rows)
    (tmp_path / "birds.yaml").write_text(
        f"name: birds\nproblem: binary\nlabel: adopted\npositive: 'yes'\ndata: {{{kind}: birds.{kind}}}\n"
        "columns: {size: number, kind: category}\nensemble: {members: {linear: {kind: linear}}}\n"
    )
    (tmp_path / "interactive.py").write_text(INTERACTIVE)
    nodes = [ingest, "StatisticsGen", "SchemaGen", "ExampleValidator", "AnomalyGate", "LabelCheck"]
    command = [sys.executable, "interactive.py", str(tmp_path / "root"), *nodes]
    # Without the settings of the notebooks' fixture.
    own = {name: value for name, value in os.environ.items() if not name.startswith("BENISON_")}
    done = subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    outputs = json.loads(done.stdout.rpartition("DONE ")[2])
    assert {name.partition(".")[0] for name, uris in outputs.items() if uris} == set(nodes)
    assert (Path(outputs["AnomalyGate.verdict"][0]) / "verdict.json").is_file()
    assert json.loads((Path(outputs["LabelCheck.report"][0]) / "label.json").read_text())["label"] == "adopted"


def write_csv(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]) + "\n")


def write_tfrecord(file: Path, rows: list[dict[str, Any]]) -> None:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(file)) as writer:
        for row in rows:
            example = tf.train.Example()
            for name, value in row.items():
                if isinstance(value, str):
                    example.features.feature[name].bytes_list.value.append(value.encode())
                else:
                    example.features.feature[name].int64_list.value.append(value)
            writer.write(example.SerializeToString())


WRITERS = {"csv": write_csv, "tfrecord": write_tfrecord}
