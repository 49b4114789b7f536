// Draws charts when they come into view, sorts tables, unfolds rows, switches the theme. It loads nothing.
(() => {
  "use strict";
  const font = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
  const line = "var(--line)", text = "var(--text)", muted = "var(--muted)";
  const config = {
    aria: false, background: null, font, padding: 4,
    view: { stroke: null },
    axis: {
      domainColor: line, tickColor: line, gridColor: line, gridOpacity: 0.7, labelColor: muted, titleColor: muted,
      labelFontSize: 11, titleFontSize: 11, titleFontWeight: 500, titlePadding: 8, labelLimit: 150, tickSize: 4,
      labelSeparation: 6,
    },
    axisQuantitative: { tickCount: 6 },
    axisY: { domain: false, ticks: false, labelPadding: 6 },
    axisBand: { grid: false },
    legend: {
      labelColor: text, titleColor: muted, labelFontSize: 11, titleFontSize: 11, titleFontWeight: 500,
      orient: "top", columns: 3, symbolSize: 60, symbolStrokeWidth: 2, labelLimit: 180, title: null, padding: 0,
    },
    text: { fontSize: 11, fill: text },
    rule: { stroke: muted }, bar: { cornerRadius: 2 }, line: { strokeWidth: 2 },
    header: { labelColor: text, titleColor: muted },
  };
  const draw = (place, waited = 0) => {
    if (!window.vegaEmbed) { // in a notebook another output brings it
      if (waited < 10_000) setTimeout(() => draw(place, waited + 100), 100);
      else place.textContent = "To see this chart, run the cell that makes the Context again.";
      return;
    }
    const spec = JSON.parse(place.parentElement.querySelector("script[type='application/json']").textContent);
    // `ast`: expressions are interpreted, because the policy of a page allows no `eval`.
    const options = {
      actions: false, ast: true, config, renderer: "svg", tooltip: { theme: "benison" },
    };
    const inner = document.createElement("div"); // Vega sets its own role and label; the place has the text alternative
    inner.setAttribute("aria-hidden", "true");
    place.replaceChildren(inner);
    window.vegaEmbed(inner, spec, options)
      .then(() => {
        place.style.minHeight = "";
        place.dataset.drawn = "yes";
      })
      .catch((error) => {
        place.dataset.drawn = "failed";
        place.textContent = "This chart could not be drawn.";
        console.error(error);
      });
  };
  const sorted = (button) => {
    const header = button.closest("th"), body = header.closest("table").tBodies[0];
    const column = [...header.parentElement.children].indexOf(header);
    const up = header.getAttribute("aria-sort") === "descending";
    for (const other of header.parentElement.children) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => {
      const cell = row.children[column];
      return cell.dataset.sort === undefined ? cell.textContent : Number(cell.dataset.sort);
    };
    const compare = (a, b) => {
      const x = key(a), y = key(b);
      const by = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), undefined, { numeric: true });
      return up ? by : -by;
    };
    const rows = [...body.rows];
    const folded = rows.findIndex((row) => row.classList.contains("folded"));
    rows.sort(compare).forEach((row, number) => {
      row.classList.toggle("folded", folded >= 0 && number >= folded);
      body.append(row);
    });
  };
  const begin = (root) => {
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) { seen.unobserve(entry.target); draw(entry.target); }
    }, { rootMargin: "400px" });
    for (const place of root.querySelectorAll(".chart:not([data-drawn])")) { place.dataset.drawn = "no"; seen.observe(place); }
    root.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      if (button.closest("thead")) sorted(button);
      else if (button.classList.contains("more")) {
        for (const row of button.parentElement.querySelectorAll("tr.folded")) row.classList.remove("folded");
        button.remove();
      } else if (button.classList.contains("theme")) {
        const page = document.documentElement;
        const dark = getComputedStyle(page).colorScheme === "dark"
          || (page.dataset.theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
        page.dataset.theme = dark ? "light" : "dark";
        button.setAttribute("aria-pressed", String(!dark));
      }
    });
  };
  // A notebook shows many fragments; each begins once.
  for (const root of document.querySelectorAll(".benison:not([data-begun])")) { root.dataset.begun = "yes"; begin(root); }
})();
