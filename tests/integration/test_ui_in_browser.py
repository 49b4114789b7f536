"""The pages of `benison ui` in a real browser: accessible, at the width of a phone, and no fault in the console."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from benison.pipelines.records import locks, runs
from benison.pipelines.ui.server import Server
from tests.chromium import DESKTOP, PHONE
from tests.integration.conftest import Project

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def served(pushed: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    project = pushed.copy(tmp_path_factory.mktemp("ui") / "copy")
    server = Server(project.root, 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", project.root
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark"), (PHONE, "light"), (DESKTOP, "dark")])
def test_index_and_comparison_are_accessible(
    browser: Browser, served: tuple[str, Path], size: tuple[int, int], scheme: str
) -> None:
    address, root = served
    (run,) = runs.history(root)
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    for path in ("/", f"/compare/{run.id}/{run.id}"):
        page.goto(address + path, wait_until="load")
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        violations = Axe().run(page)
        assert violations.violations_count == 0, violations.generate_report()
    assert faults == []
    context.close()


def test_a_run_that_begins_and_ends_is_shown_without_a_click(browser: Browser, served: tuple[str, Path]) -> None:
    address, root = served
    page = browser.new_page()
    page.goto(address)
    assert page.get_by_text("No run is under way.").is_visible()
    with locks.pipeline_lock(root, "geese", "geese-1"):
        folder = root / "runs" / "geese-1"
        folder.mkdir()
        run = runs.Run("geese-1", "geese", folder, 1.0, nodes=[runs.NodeRun("Wing", "W", "w", "running")])
        run.save()
        page.get_by_text("now: Wing").wait_for()
        run.end()
    page.get_by_text("No run is under way.").wait_for()
    page.close()
