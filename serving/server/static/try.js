// The form of /benison/try/MODEL. It sends the row to the REST API, as every client does, and shows the prediction.
"use strict";

const form = document.getElementById("form");
const { path, version, signature } = form.dataset;
const inRows = "rows" in form.dataset;
const ensemble = JSON.parse(form.dataset.ensemble);
const statusLine = document.getElementById("answer");
const fields = [...form.elements].filter((control) => control.dataset.kind);

// --- the request -----------------------------------------------------------------------------------------------------

// Return the value of a field as JSON text. It is not JSON.stringify, which has no NaN.
function jsonText(control) {
  const { kind, missing } = control.dataset;
  const text = control.value;
  if (control.validity.badInput) throw new Error(kind === "integer" ? "Not a whole number" : "Not a number");
  if (missing && text.trim() === "") return missing;
  if (kind === "text") return JSON.stringify(text);
  if (text.trim() === "") throw new Error("A value is required");
  if (kind === "choice") return JSON.stringify(text);
  if (kind === "integer") return integerText(text);
  if (kind === "json") JSON.parse(text);
  return text.trim();
}

function integerText(text) {
  if (!/^-?\d+$/.test(text.trim())) throw new Error("Not a whole number");
  return String(BigInt(text.trim()));
}

// Return the fields as one JSON object, or null if a field is wrong. Then the first wrong field gets the focus.
function row() {
  const parts = [];
  let firstWrong = null;
  for (const control of fields) {
    try {
      parts.push(`${JSON.stringify(control.name)}: ${jsonText(control)}`);
      showError(control, "");
    } catch (error) {
      showError(control, control.dataset.kind === "json" && error instanceof SyntaxError ? "Not JSON" : error.message);
      firstWrong = firstWrong || control;
    }
  }
  if (firstWrong) firstWrong.focus();
  return firstWrong ? null : `{${parts.join(", ")}}`;
}

function showError(control, message) {
  const error = document.getElementById(`${control.id}-error`);
  const hint = document.getElementById(`${control.id}-hint`);
  error.textContent = message;
  error.hidden = !message;
  const description = [hint && hint.id, message && error.id].filter(Boolean).join(" ");
  if (description) control.setAttribute("aria-describedby", description);
  else control.removeAttribute("aria-describedby");
  if (message) control.setAttribute("aria-invalid", "true");
  else control.removeAttribute("aria-invalid");
}

function body(name, values) {
  const signatureName = name === "serving_default" ? "" : `"signature_name": ${JSON.stringify(name)}, `;
  return `{${signatureName}${inRows ? `"instances": [${values}]` : `"inputs": ${values}`}}`;
}

// The form belongs to one version, so it asks that version. The command shown asks the newest version.
async function requestPrediction(name, values) {
  const response = await fetch(`${path}/versions/${version}:predict`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: body(name, values),
  });
  const text = await response.text();
  if (response.status === 404) throw new Error("This version is no longer served. Reload the page.");
  const answer = parseJson(text);
  if (!response.ok) throw new Error(answer.error || `The server answered with status ${response.status}`);
  return { text, outputs: inRows ? answer.predictions[0] : answer.outputs };
}

// Parse JSON in which the server may write NaN and Infinity; they become text.
function parseJson(text) {
  const bare = /"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b/g;
  return JSON.parse(text.replace(bare, (match) => (match.startsWith('"') ? match : `"${match}"`)));
}

// --- the answer ------------------------------------------------------------------------------------------------------

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const percent = (value) => (typeof value === "number" ? `${(100 * value).toFixed(1)} %` : String(value));
const number = (value) => (typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value));

// Recognize the outputs of a signature: probabilities of classes, one number, or anything else.
function interpret(outputs) {
  const values = outputs && (outputs.probabilities || outputs.scores);
  if (values && Array.isArray(outputs.classes) && values.length === outputs.classes.length) {
    return { kind: "classes", classes: outputs.classes, values, decision: outputs.decision };
  }
  let only = outputs;
  while (only && typeof only === "object" && Object.keys(only).length === 1) only = Object.values(only)[0];
  return typeof only === "number" ? { kind: "number", values: [only] } : { kind: "other", outputs };
}

function show(prediction, memberOutputs) {
  const outcome = document.getElementById("outcome");
  const members = document.getElementById("members");
  outcome.replaceChildren();
  members.replaceChildren();
  statusLine.className = "result";
  if (prediction.kind === "classes") {
    const decided = prediction.classes.indexOf(prediction.decision);
    const best = decided >= 0 ? decided : prediction.values.indexOf(Math.max(...prediction.values));
    statusLine.textContent = `${prediction.classes[best]}, ${percent(prediction.values[best])}`;
    outcome.append(bars(prediction));
  } else if (prediction.kind === "number") {
    statusLine.textContent = number(prediction.values[0]);
    statusLine.dataset.value = prediction.values[0];
  } else {
    statusLine.className = "";
    statusLine.textContent = "Outputs of the model";
    outcome.append(table(prediction.outputs));
  }
  if (memberOutputs) members.append(memberTable(prediction, memberOutputs));
}

function bars({ classes, values }) {
  const order = values.map((_, index) => index).sort((a, b) => values[b] - values[a]);
  const rows = order.map((index) => {
    const bar = make("div", {});
    bar.style.width = `${100 * values[index]}%`;
    return make("tr", {},
      make("th", { scope: "row" }, String(classes[index])),
      make("td", { class: "number", "data-value": values[index] }, percent(values[index])),
      make("td", { "aria-hidden": "true" }, make("div", { class: "track" }, bar)));
  });
  return make("table", { class: "bars", "aria-label": "Probability of each class" }, make("tbody", {}, ...rows));
}

function table(outputs) {
  const named = outputs && typeof outputs === "object" && !Array.isArray(outputs) ? outputs : { output: outputs };
  const rows = Object.entries(named).map(([name, value]) =>
    make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, make("code", {}, JSON.stringify(value)))));
  return scrollable("Outputs of the model", make("table", {}, make("tbody", {}, ...rows)));
}

// The table of the members' predictions. The server leaves out the name of a single member and the list of a single number.
function memberTable(prediction, outputs) {
  const names = ensemble.members.length ? ensemble.members : Object.keys(outputs);
  const columns = prediction.kind === "classes" ? prediction.classes.map(String) : ["prediction"];
  const text = prediction.kind === "classes" ? percent : number;
  const hasWeights = Object.keys(ensemble.weights).length > 0;
  const cells = (values) => [values].flat().map((value) =>
    make("td", { class: "number", "data-value": value }, text(value)));
  const rows = names.map((name) => {
    const values = names.length === 1 && !(outputs && outputs[name]) ? outputs : outputs[name];
    const weight = hasWeights ? [make("td", { class: "number" }, percent(ensemble.weights[name]))] : [];
    return make("tr", { "data-member": name }, make("th", { scope: "row" }, name), ...weight, ...cells(values));
  });
  const titles = ["Member", ...(hasWeights ? ["Weight"] : []), ...columns];
  const head = make("tr", {}, ...titles.map((title, index) =>
    make("th", { scope: "col", ...(index ? { class: "number" } : {}) }, title)));
  const ensembleRow = make("tr", { class: "whole" }, make("th", { scope: "row" }, "Ensemble"),
    ...(hasWeights ? [make("td", { class: "number" }, "")] : []), ...cells(prediction.values || []));
  const combiner = ensemble.combiner ? ` (${ensemble.combiner.replaceAll("_", " ")})` : "";
  return make("div", {}, make("h3", { id: "members-title" }, `Prediction of each member${combiner}`),
    scrollable("Prediction of each member", make("table", { "aria-labelledby": "members-title" },
      make("thead", {}, head), make("tbody", {}, ...rows, ensembleRow))));
}

// Wide tables scroll horizontally, also by keyboard; the page itself never does.
function scrollable(label, content) {
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, content);
}

function command(values) {
  const quoted = body(signature, values).replaceAll("'", "'\\''");
  return `curl ${location.origin}${path}:predict -d '${quoted}'`;
}

// --- user actions -----------------------------------------------------------------------------------------------------

async function predict() {
  const values = row();
  if (values === null) return;
  form.setAttribute("aria-busy", "true");
  try {
    const requests = [requestPrediction(signature, values)];
    if ("members" in form.dataset) requests.push(requestPrediction("members", values));
    const [prediction, members] = await Promise.all(requests);
    show(interpret(prediction.outputs), members && members.outputs);
    document.getElementById("sent").textContent = prediction.text;
  } catch (error) {
    document.getElementById("outcome").replaceChildren();
    document.getElementById("members").replaceChildren();
    document.getElementById("sent").textContent = "";
    statusLine.className = "problem";
    statusLine.textContent = error instanceof TypeError ? "The server does not answer." : error.message;
  } finally {
    form.removeAttribute("aria-busy");
  }
  document.getElementById("command").textContent = command(values);
  document.getElementById("request").hidden = false;
  const results = document.getElementById("results");
  if (results.getBoundingClientRect().top > innerHeight * 0.8) results.scrollIntoView(); // on a phone it is below the form
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  predict();
});
form.addEventListener("reset", () => fields.forEach((control) => showError(control, "")));
document.getElementById("clear").addEventListener("click", () => {
  for (const control of fields) {
    control.value = "";
    showError(control, "");
  }
  fields[0].focus();
});
const copy = document.getElementById("copy");
copy.hidden = !navigator.clipboard; // browsers offer it only on pages from localhost or over TLS
copy.addEventListener("click", async () => {
  await navigator.clipboard.writeText(document.getElementById("command").textContent);
  copy.textContent = "Copied";
  setTimeout(() => { copy.textContent = "Copy"; }, 2000);
});
