"""The server's pages work in a real browser: by keyboard, on a phone, and with a screen reader."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Request, expect

from tests.chromium import DESKTOP, PHONE
from tests.integration.model_server import Server, running
from tests.system.penguins_model import CLASSES, push

pytestmark = pytest.mark.system

TRY = "/benison/try/penguins"
PAGES = ["/", "/docs", TRY, f"{TRY}/members"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("pages")
    push(folder / "made", folder / "penguins")
    with running(folder, "--model_name=penguins", f"--model_base_path={folder / 'penguins'}") as server:
        yield server


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """The folder for screenshots: BENISON_SCREENSHOTS, else pytest's temporary folder."""
    folder = Path(os.environ.get("BENISON_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def opened(
    browser: Browser, server: Server, path: str, size: tuple[int, int] = DESKTOP, scheme: Any = "light"
) -> Iterator[Page]:
    """Open a page in its own profile; an error in its script fails the test."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"http://127.0.0.1:{server.rest}{path}")
    yield page
    context.close()
    assert errors == []


def predict(page: Page) -> None:
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#answer")).to_have_class("result")


def numbers(page: Page, selector: str) -> list[float]:
    """Return the exact numbers of cells that show them rounded."""
    return [float(str(cell.get_attribute("data-value"))) for cell in page.locator(f"{selector} [data-value]").all()]


def test_a_form_filled_by_keyboard_gives_the_same_answer_as_rest(
    browser: Browser, server: Server, screenshots: Path
) -> None:
    with opened(browser, server, TRY) as page:
        press = page.keyboard.press
        for _ in range(10):  # skip the links before the form
            press("Tab")
            if page.evaluate("document.activeElement.name") == "island":
                break
        page.keyboard.type("Dream")
        press("Tab")
        assert page.evaluate("document.activeElement.labels[0].textContent") == "bill length (mm)"
        press("Control+A")
        page.keyboard.type("47.5")
        press("Tab")
        press("Control+A")
        press("Delete")  # a missing mass
        press("Tab")
        page.keyboard.type("male")
        press("Shift+Tab")
        press("Enter")
        expect(page.locator("#answer")).to_have_class("result")

        row = {"island": "Dream", "bill_length__mm_": 47.5, "body_mass_g": -1, "sex": "male"}
        code, answer = server.post("penguins:predict", {"signature_name": "raw", "instances": [row]})
        prediction = answer["predictions"][0]
        assert code == 200
        assert prediction["classes"] == CLASSES
        best = max(range(3), key=lambda index: prediction["probabilities"][index])
        expect(page.get_by_role("status")).to_have_text(
            f"{CLASSES[best]}, {100 * prediction['probabilities'][best]:.1f} %"
        )
        assert numbers(page, "#outcome") == sorted(prediction["probabilities"], reverse=True)
        _, answer = server.post("penguins:predict", {"signature_name": "members", "instances": [row]})
        for member in ("linear", "deep"):
            assert numbers(page, f"[data-member={member}]") == answer["predictions"][0][member]
        assert numbers(page, "tr.whole") == prediction["probabilities"]
        weights = [page.locator(f"[data-member={member}] td").first.inner_text() for member in ("linear", "deep")]
        assert weights == ["25.0 %", "75.0 %"]
        page.screenshot(path=screenshots / "try-by-keyboard.png", full_page=True)


def test_the_command_that_the_page_shows_gives_the_same_answer(browser: Browser, server: Server) -> None:
    with opened(browser, server, TRY) as page:
        page.get_by_label("bill length (mm)").fill("")  # a missing value: NaN in the body
        predict(page)
        command = page.locator("#command").inner_text()
        assert '"bill_length__mm_": NaN' in command
        done = subprocess.run(["bash", "-c", f"{command} -sS"], capture_output=True, text=True, check=True)
        assert done.stdout == page.locator("#sent").text_content()


@pytest.mark.parametrize(
    ("label", "text", "message"),
    [
        ("body_mass_g", "3.5", "Not a whole number"),
        ("body_mass_g", "1e30", "Not a whole number"),
        ("bill length (mm)", "-", "Not a number"),
    ],
)
def test_a_wrong_field_shows_an_error_and_gets_the_focus(
    browser: Browser, server: Server, label: str, text: str, message: str
) -> None:
    with opened(browser, server, TRY) as page:
        field = page.get_by_label(label)
        field.click()
        page.keyboard.press("Control+A")
        page.keyboard.type(text)
        page.keyboard.press("Enter")
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_have_accessible_description(re.compile(f"number.* {message}$"))
        expect(field).to_be_focused()
        page.get_by_role("button", name="Example row").click()
        predict(page)
        expect(field).not_to_have_attribute("aria-invalid", "true")


def test_on_a_phone_the_answer_comes_into_view(browser: Browser, server: Server) -> None:
    with opened(browser, server, TRY, (360, 480)) as page:
        expect(page.locator("#answer")).not_to_be_in_viewport()
        predict(page)
        expect(page.locator("#answer")).to_be_in_viewport()


def test_an_error_of_the_server_is_shown(browser: Browser, server: Server) -> None:
    with opened(browser, server, TRY) as page:
        page.get_by_label("body_mass_g").fill("99999999999999999999")
        page.get_by_role("button", name="Predict").click()
        expect(page.get_by_role("status")).to_contain_text("is not of expected type: int64")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_pages_fit_the_screen_and_are_accessible(
    browser: Browser, server: Server, screenshots: Path, size: tuple[int, int], path: str, scheme: str
) -> None:
    """Check that nothing scrolls horizontally and that axe-core finds no violation of WCAG."""
    with opened(browser, server, path, size, scheme) as page:
        page.locator("details").evaluate_all("all => all.forEach((details) => { details.open = true; })")
        if path == TRY:
            predict(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        report = Axe().run(page)
        assert report.violations_count == 0, report.generate_report()
        name = path.strip("/").replace("/", "-") or "home"
        page.screenshot(path=screenshots / f"{name}-{size[0]}-{scheme}.png", full_page=True)


@pytest.mark.parametrize("path", PAGES)
def test_pages_send_requests_only_to_their_server(browser: Browser, server: Server, path: str) -> None:
    urls: list[str] = []

    def record(request: Request) -> None:
        urls.append(request.url)

    with opened(browser, server, "/benison/status") as page:
        page.on("request", record)
        page.goto(f"http://127.0.0.1:{server.rest}{path}")
    assert urls
    assert all(url.startswith((f"http://127.0.0.1:{server.rest}/", "data:")) for url in urls)
