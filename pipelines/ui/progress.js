// Shows the runs that are under way. It asks the server that the page is from, and loads the page again when a run ends.
(() => {
  "use strict";
  const place = document.getElementById("progress");
  const row = (tag, text, cells) => {
    const element = document.createElement(tag);
    if (text) element.textContent = text;
    for (const cell of cells || []) element.append(cell);
    return element;
  };
  let before = null;
  const show = (running) => {
    const ids = running.map((run) => run.id).join(" ");
    if (before !== null && before !== ids) { location.reload(); return; }
    before = ids;
    if (!running.length) return;
    const lines = running.map((run) => row("li", "", [
      row("span", `${run.id}: ${run.done} of ${run.nodes} nodes, ${Math.round(run.seconds)} s`),
      row("div", run.running.length ? `now: ${run.running.join(", ")}` : ""),
    ]));
    place.replaceChildren(row("ul", "", lines));
  };
  const ask = async () => {
    try {
      const response = await fetch("/progress.json", { cache: "no-store" });
      if (response.ok) show(await response.json());
    } catch { /* the server has ended; the page stays as it is */ }
    setTimeout(ask, 2000);
  };
  ask();
})();
