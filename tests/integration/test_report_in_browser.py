"""The report in a real browser: all is drawn, nothing is loaded, and it is accessible, light and dark, wide and narrow."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from benison.pipelines.drawings import page as pages
from benison.pipelines.drawings.page import Section
from tests.chromium import DESKTOP, PHONE
from tests.unit.pipelines.drawings import strangers

if TYPE_CHECKING:
    from tests.integration.conftest import Project

pytestmark = pytest.mark.system
_MISSING = "[...document.querySelectorAll('.chart')].filter(e => e.dataset.drawn !== 'yes').map(e => e.ariaLabel)"


@pytest.fixture(scope="module")
def all_drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of every drawing, with names that strangers wrote."""
    file = tmp_path_factory.mktemp("pages") / "all.html"
    file.write_text(pages.page(strangers.EVIL, [Section("all", "All", strangers.everything())]))
    return file


def scrolled(page: Page) -> list[str]:
    """Open what is folded, show all parts of a page, and return the charts that were not drawn."""
    page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    position, missing = 0, []
    for _ in range(200):
        page.evaluate(f"window.scrollTo(0, {position})")
        page.wait_for_timeout(50)
        position = (position + 700) % (page.evaluate("document.body.scrollHeight") + 1)
        if not (missing := page.evaluate(_MISSING)):
            break
    return list(missing)


def look(browser: Browser, file: Path, size: tuple[int, int], scheme: str) -> None:
    """Open a page and check it."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page = context.new_page()
    faults: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    begun = time.monotonic()
    page.goto(file.as_uri(), wait_until="load")
    loaded = time.monotonic() - begun
    assert scrolled(page) == []
    assert faults == []
    assert requests == [file.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert file.stat().st_size < 5_000_000
    violations = Axe().run(page)
    assert violations.violations_count == 0, violations.generate_report()
    print(f"{file.parent.name} {scheme} {size[0]} px: {file.stat().st_size / 1e6:.2f} MB, loaded in {loaded:.2f} s")
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_the_report_of_a_run_is_drawn_whole_and_accessible(
    browser: Browser, pushed: Project, size: tuple[int, int], scheme: str
) -> None:
    (file,) = (pushed.root / "runs").glob("*/report.html")
    look(browser, file, size, scheme)


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_every_drawing_shows_the_names_of_strangers_as_text(
    browser: Browser, all_drawings: Path, size: tuple[int, int], scheme: str
) -> None:
    look(browser, all_drawings, size, scheme)


def test_tables_are_sorted_and_the_theme_is_switched_by_keyboard(browser: Browser, all_drawings: Path) -> None:
    page = browser.new_page(color_scheme="light")
    page.goto(all_drawings.as_uri())
    table = page.get_by_role("region", name="auc of all slices, table")
    rows = table.locator("tbody tr th")
    assert rows.last.inner_text() == "b"
    table.get_by_role("button", name="rows").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert rows.first.inner_text() == "b", "the smallest first"
    color = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(color)
    page.get_by_role("button", name="Light / dark").press("Enter")
    assert page.evaluate(color) != before
    page.close()
