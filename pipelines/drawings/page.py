"""Pages and fragments of drawings: one HTML file that loads nothing, and one output of a notebook."""

from __future__ import annotations

import base64
import functools
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benison.pipelines.drawings import theme
from benison.pipelines.drawings.drawing import Part, html_of, prose
from benison.serving.files import atomic_file
from benison.serving.markup import Markup, element, joined
from benison.serving.visible_text import visible_line


@dataclass(frozen=True)
class Section:
    """A section of a page.

    Attributes:
        id: its anchor.
        title: its heading.
        parts: the drawings; if there are none, `empty` is shown.
        empty: why there are none; '' leaves the section out.
    """

    id: str
    title: str
    parts: Sequence[Part]
    empty: str = ""


def page(
    title: str,
    sections: Sequence[Section],
    *,
    heading: str = "",
    footer: str = "",
    links: bool = True,
    script: str = "",
) -> str:
    """Return a page: one HTML file that works without a network.

    Args:
        title: of the window.
        sections: in order; those without drawings say why, or are left out.
        heading: the first heading. Defaults to the title.
        footer: the last line.
        links: begin with links to the sections.
        script: a script of the page's own, which may ask the server that the page is from; '' for none.
    """
    shown = [section for section in sections if section.parts or section.empty]
    content = element("main", [_section(section) for section in shown])
    charts = [vega()] if 'class="chart"' in content else []  # 900 kB
    scripts = [*charts, theme.script(), *([script] if script else [])]
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(_hash(script) for script in scripts)}",
            "style-src 'unsafe-inline'",
            "img-src data:",
            *(["connect-src 'self'"] if script else []),
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", visible_line(title)),
        element("style", Markup(theme.style())),
    )
    menu = element("ul", [element("li", element("a", s.title, href=f"#{s.id}")) for s in shown])
    body = element(
        "body",
        element(
            "header",
            element("h1", visible_line(heading or title)),
            element("button", "Light / dark", type="button", class_="theme", aria_pressed="false"),
        ),
        element("nav", menu, aria_label="Sections") if links else None,
        content,
        element("footer", prose(footer)) if footer else None,
        [element("script", Markup(script)) for script in scripts],
        class_="benison",
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _section(section: Section) -> Markup:
    heading = f"{section.id}-heading"
    content = html_of(section.parts) if section.parts else element("p", prose(section.empty), class_="empty")
    return element("section", element("h2", section.title, id=heading), content, id=section.id, aria_labelledby=heading)


def fragment(parts: Sequence[Part]) -> str:
    """Return drawings as HTML for an output of a notebook; an earlier output of it has `scripts()`."""
    return joined(
        element("style", Markup(theme.style())),
        element("div", html_of(parts), class_="benison"),
        element("script", Markup(theme.script())),
    )


def scripts() -> str:
    """Return Vega's script as HTML for one output of a notebook: 900 kB, so the drawings leave it out."""
    return element("script", Markup(f"if (!window.vegaEmbed) {{{vega()}}}"))


@functools.cache
def vega() -> str:
    """Return the script of Vega, Vega-Lite and Vega-Embed, as one expression that sets them in `window`.

    To bundle it takes two seconds, so a copy is kept in the user's cache, for each version of vl_convert and snippet.
    """
    from importlib.metadata import version

    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "benison"
    made_of = hashlib.sha256(_SNIPPET.encode()).hexdigest()[:8]
    file = folder / f"vega-{version('vl-convert-python')}-{made_of}.js"
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        import vl_convert

        bundle = f"(() => {{{vl_convert.javascript_bundle(_SNIPPET)}}})();"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        atomic_file.write(file, bundle)
    except OSError:  # a home that is read-only costs two seconds each time
        pass
    return bundle


_SNIPPET = "window.vegaEmbed = vegaEmbed;"


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
