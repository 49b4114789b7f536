// The form of /benison/try/MODEL: asks the model by the same REST API as every client, and shows what it says.
"use strict";

const form = document.getElementById("form");
const { path, version, signature } = form.dataset;
const inRows = "rows" in form.dataset;
const ensemble = JSON.parse(form.dataset.ensemble);
const answer = document.getElementById("answer");
const fields = [...form.elements].filter((control) => control.dataset.kind);

// --- the request -----------------------------------------------------------------------------------------------------

// A field's value as the text of JSON: NaN, which JSON.stringify lacks, is a number here.
function written(control) {
  const { kind, missing } = control.dataset;
  const text = control.value;
  if (control.validity.badInput) throw new Error(kind === "integer" ? "Not a whole number" : "Not a number");
  if (missing && text.trim() === "") return missing;
  if (kind === "text") return JSON.stringify(text);
  if (text.trim() === "") throw new Error("A value is needed");
  if (kind === "choice") return JSON.stringify(text);
  if (kind === "integer") return whole(text);
  if (kind === "json") JSON.parse(text);
  return text.trim();
}

function whole(text) {
  if (!/^-?\d+$/.test(text.trim())) throw new Error("Not a whole number");
  return String(BigInt(text.trim()));
}

// The fields as one JSON object; null where a field is wrong, which then says so and has the focus.
function row() {
  const parts = [];
  let wrong = null;
  for (const control of fields) {
    try {
      parts.push(`${JSON.stringify(control.name)}: ${written(control)}`);
      told(control, "");
    } catch (problem) {
      told(control, control.dataset.kind === "json" && problem instanceof SyntaxError ? "Not JSON" : problem.message);
      wrong = wrong || control;
    }
  }
  if (wrong) wrong.focus();
  return wrong ? null : `{${parts.join(", ")}}`;
}

function told(control, message) {
  const place = document.getElementById(`${control.id}-error`);
  const hint = document.getElementById(`${control.id}-hint`);
  place.textContent = message;
  place.hidden = !message;
  const described = [hint && hint.id, message && place.id].filter(Boolean).join(" ");
  if (described) control.setAttribute("aria-describedby", described);
  else control.removeAttribute("aria-describedby");
  if (message) control.setAttribute("aria-invalid", "true");
  else control.removeAttribute("aria-invalid");
}

function body(name, values) {
  const asked = name === "serving_default" ? "" : `"signature_name": ${JSON.stringify(name)}, `;
  return `{${asked}${inRows ? `"instances": [${values}]` : `"inputs": ${values}`}}`;
}

// Form and answer belong to one version, so that one is asked; a command for later asks the newest.
async function ask(name, values) {
  const response = await fetch(`${path}/versions/${version}:predict`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: body(name, values),
  });
  const text = await response.text();
  if (response.status === 404) throw new Error("This version is not served any more. Load the page again.");
  const said = parsed(text);
  if (!response.ok) throw new Error(said.error || `The server answered ${response.status}`);
  return { text, outputs: inRows ? said.predictions[0] : said.outputs };
}

// JSON with the server's NaN and Infinity, which become text.
function parsed(text) {
  const bare = /"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b/g;
  return JSON.parse(text.replace(bare, (found) => (found.startsWith('"') ? found : `"${found}"`)));
}

// --- the answer ------------------------------------------------------------------------------------------------------

function make(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const percent = (value) => (typeof value === "number" ? `${(100 * value).toFixed(1)} %` : String(value));
const number = (value) => (typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value));

// What a signature says, by its form: probabilities of classes, one number, or anything else.
function understood(outputs) {
  const values = outputs && (outputs.probabilities || outputs.scores);
  if (values && Array.isArray(outputs.classes) && values.length === outputs.classes.length) {
    return { kind: "classes", classes: outputs.classes, values };
  }
  let only = outputs;
  while (only && typeof only === "object" && Object.keys(only).length === 1) only = Object.values(only)[0];
  return typeof only === "number" ? { kind: "number", values: [only] } : { kind: "other", outputs };
}

function show(said, memberValues) {
  const outcome = document.getElementById("outcome");
  const members = document.getElementById("members");
  outcome.replaceChildren();
  members.replaceChildren();
  answer.className = "told";
  if (said.kind === "classes") {
    const best = said.values.indexOf(Math.max(...said.values));
    answer.textContent = `${said.classes[best]}, ${percent(said.values[best])}`;
    outcome.append(bars(said));
  } else if (said.kind === "number") {
    answer.textContent = number(said.values[0]);
    answer.dataset.value = said.values[0];
  } else {
    answer.className = "";
    answer.textContent = "The model's outputs";
    outcome.append(table(said.outputs));
  }
  if (memberValues) members.append(byMember(said, memberValues));
}

function bars(said) {
  const order = said.values.map((_, index) => index).sort((a, b) => said.values[b] - said.values[a]);
  const rows = order.map((index) => {
    const bar = make("div", {});
    bar.style.width = `${100 * said.values[index]}%`;
    return make("tr", {},
      make("th", { scope: "row" }, String(said.classes[index])),
      make("td", { class: "number", "data-value": said.values[index] }, percent(said.values[index])),
      make("td", { "aria-hidden": "true" }, make("div", { class: "track" }, bar)));
  });
  return make("table", { class: "bars", "aria-label": "Probability of each class" }, make("tbody", {}, ...rows));
}

function table(outputs) {
  const named = outputs && typeof outputs === "object" && !Array.isArray(outputs) ? outputs : { output: outputs };
  const rows = Object.entries(named).map(([name, value]) =>
    make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, make("code", {}, JSON.stringify(value)))));
  return scrolling("The model's outputs", make("table", {}, make("tbody", {}, ...rows)));
}

// A member's values as a list: a single member goes without its name, a single number without its list.
function byMember(said, outputs) {
  const names = ensemble.members.length ? ensemble.members : Object.keys(outputs);
  const columns = said.kind === "classes" ? said.classes.map(String) : ["prediction"];
  const text = said.kind === "classes" ? percent : number;
  const weighed = Object.keys(ensemble.weights).length > 0;
  const cells = (values) => [values].flat().map((value) =>
    make("td", { class: "number", "data-value": value }, text(value)));
  const rows = names.map((name) => {
    const values = names.length === 1 && !(outputs && outputs[name]) ? outputs : outputs[name];
    const weight = weighed ? [make("td", { class: "number" }, percent(ensemble.weights[name]))] : [];
    return make("tr", { "data-member": name }, make("th", { scope: "row" }, name), ...weight, ...cells(values));
  });
  const titles = ["Member", ...(weighed ? ["Weight"] : []), ...columns];
  const head = make("tr", {}, ...titles.map((title, index) =>
    make("th", { scope: "col", ...(index ? { class: "number" } : {}) }, title)));
  const whole = make("tr", { class: "whole" }, make("th", { scope: "row" }, "Ensemble"),
    ...(weighed ? [make("td", { class: "number" }, "")] : []), ...cells(said.values || []));
  const by = ensemble.combiner ? ` (${ensemble.combiner.replaceAll("_", " ")})` : "";
  return make("div", {}, make("h3", { id: "members-title" }, `What each member says${by}`),
    scrolling("What each member says", make("table", { "aria-labelledby": "members-title" },
      make("thead", {}, head), make("tbody", {}, ...rows, whole))));
}

// Wide tables scroll in themselves, by keyboard too; the page never does.
function scrolling(label, content) {
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, content);
}

function command(values) {
  const quoted = body(signature, values).replaceAll("'", "'\\''");
  return `curl ${location.origin}${path}:predict -d '${quoted}'`;
}

// --- what people do --------------------------------------------------------------------------------------------------

async function predict() {
  const values = row();
  if (values === null) return;
  form.setAttribute("aria-busy", "true");
  try {
    const asked = [ask(signature, values), "members" in form.dataset ? ask("members", values) : null];
    const [said, members] = await Promise.all(asked);
    show(understood(said.outputs), members && members.outputs);
    document.getElementById("sent").textContent = said.text;
  } catch (problem) {
    document.getElementById("outcome").replaceChildren();
    document.getElementById("members").replaceChildren();
    document.getElementById("sent").textContent = "";
    answer.className = "problem";
    answer.textContent = problem instanceof TypeError ? "The server does not answer." : problem.message;
  } finally {
    form.removeAttribute("aria-busy");
  }
  document.getElementById("command").textContent = command(values);
  document.getElementById("request").hidden = false;
  const results = document.getElementById("results");
  if (results.getBoundingClientRect().top > innerHeight * 0.8) results.scrollIntoView(); // on a phone it lies below
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  predict();
});
form.addEventListener("reset", () => fields.forEach((control) => told(control, "")));
document.getElementById("clear").addEventListener("click", () => {
  for (const control of fields) {
    control.value = "";
    told(control, "");
  }
  fields[0].focus();
});
const copy = document.getElementById("copy");
copy.hidden = !navigator.clipboard; // browsers have none for a page that came neither from this machine nor by TLS
copy.addEventListener("click", async () => {
  await navigator.clipboard.writeText(document.getElementById("command").textContent);
  copy.textContent = "Copied";
  setTimeout(() => { copy.textContent = "Copy"; }, 2000);
});
