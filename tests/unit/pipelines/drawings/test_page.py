"""Pages of drawings: valid Vega-Lite, names of strangers stay text, and nothing is loaded."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from benison.pipelines.drawings import data, page
from benison.pipelines.drawings.drawing import Table
from benison.pipelines.drawings.page import Section
from tests.unit.pipelines.drawings import strangers


class Reader(HTMLParser):
    """Collects the elements of a page, the content of its scripts, and all other text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] == "script" and self.cdata_elem == "script":
            self.scripts.append(data)
        else:
            self.text += data


@pytest.fixture(scope="module")
def everything() -> str:
    return page.page(strangers.EVIL, [Section("all", "All", strangers.everything())])


def test_every_chart_is_valid_vega_lite() -> None:
    import altair

    charts = strangers.charts(strangers.everything())
    assert len(charts) > 25
    for chart in charts:
        spec = json.loads(json.dumps(chart.vega_lite(), default=lambda number: number.item()))
        altair.Chart.from_dict(spec)  # checks it against the schema of Vega-Lite
        assert chart.text, chart.title


def test_names_of_strangers_stay_text(everything: str) -> None:
    found = Reader(everything)
    names = {tag for tag, _ in found.elements}
    assert "img" not in names
    of_scripts = [attributes for tag, attributes in found.elements if tag == "script"]
    charts = strangers.charts(strangers.everything())
    assert [a for a in of_scripts if a.get("type") is None] == [{}, {}]  # Vega and our own
    assert len(of_scripts) == len(charts) + 2
    assert not any(name.startswith("on") for _, attributes in found.elements for name in attributes)
    assert "</script><script>alert(1)" in found.text
    assert "\u202e" not in everything, "an override of the writing direction is shown as an escape"
    assert "\x1b" not in everything
    assert "\u2028" not in everything
    assert strangers.HEBREW in found.text


def test_the_data_of_charts_are_what_they_were(everything: str) -> None:
    specs = [json.loads(script) for script in Reader(everything).scripts if script.startswith("{")]
    texts = json.dumps(specs, ensure_ascii=False)
    assert json.dumps(strangers.EVIL, ensure_ascii=False)[1:-1].split("\\n")[0] in texts


def test_the_policy_allows_the_two_scripts_and_nothing_else(everything: str) -> None:
    found = Reader(everything)
    (policy,) = [a["content"] for tag, a in found.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    scripts = [s for s in found.scripts if not s.startswith("{")]
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts}
    assert len(hashes) == 2
    assert hashes == set(re.findall(r"'sha256-[^']+'", policy))


def test_nothing_is_loaded(everything: str) -> None:
    for tag, attributes in Reader(everything).elements:
        assert tag not in ("link", "iframe", "object", "embed"), attributes
        assert "src" not in attributes
        assert not (attributes.get("href") or "#").startswith(("http", "//"))


def test_a_fragment_leaves_the_script_to_an_earlier_output() -> None:
    fragment = page.fragment(strangers.everything()[:2])
    assert len(fragment) < 60_000 < 800_000 < len(page.scripts())
    assert 'class="benison"' in fragment
    assert page.scripts().count("<script>") == fragment.count("<script>") == 1


def test_a_table_without_anything_in_a_column_leaves_it_out() -> None:
    table = Table("rows", ["name", "reason", "size"], [["a", "-", 1], ["b", "", 2]]).html()
    assert "size" in table
    assert "reason" not in table


def test_a_missing_number_is_sorted_by_the_browser_as_the_smallest() -> None:
    table = Table("rows", ["name", "size"], [["a", None], ["b", 2]]).html()
    assert 'data-sort="-Infinity"' in table


def test_columns_by_the_hundred_stay_small() -> None:
    columns = strangers.statistics(200)
    parts = [data.columns(columns), *data.distributions(columns)]
    text = page.page("wide", [Section("data", "Data", parts)])
    assert len(text) < 5_000_000


def test_vega_is_bundled_once_for_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    page.vega.cache_clear()
    bundles = iter(["window.vegaEmbed = 1;"])
    monkeypatch.setattr("vl_convert.javascript_bundle", lambda snippet: next(bundles))
    try:
        first = page.vega()
        page.vega.cache_clear()
        assert "window.vegaEmbed = 1;" in first == page.vega()
    finally:
        page.vega.cache_clear()
