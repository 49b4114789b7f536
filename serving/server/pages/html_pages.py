"""The server's HTML pages: the list of models, the API documentation, and a form to try a model."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from benison.serving.markup import Markup, element
from benison.serving.server.engine import Signature
from benison.serving.server.pages import input_fields, openapi
from benison.serving.server.pages.input_fields import Field
from benison.serving.server.pages.openapi import ServedModel

Json = dict[str, Any]


def home(models: tuple[ServedModel, ...], unavailable: dict[str, str]) -> str:
    """Return the page at /.

    Args:
        models: the loaded models.
        unavailable: the reason for each model without an available version.
    """
    cards = [
        element(
            "li",
            element("h2", element("a", model.name, href=_try_path(model.name))),
            element("p", openapi.description(model)),
            class_="card",
        )
        for model in models
    ] + [
        element("li", element("h2", name), element("p", reason, class_="problem"), class_="card")
        for name, reason in unavailable.items()
    ]
    model_list = element("ul", cards, class_="cards") if cards else element("p", "No model is loaded.")
    return _page("Models", element("h1", "Models"), model_list, current="/")


def docs(document: Json, host: str) -> str:
    """Return the page at /docs, which shows an OpenAPI document.

    Args:
        document: the result of `openapi.document`.
        host: name and port of the server, for the curl commands.
    """
    sections = [
        element(
            "section",
            element("h2", tag["name"]),
            element("p", tag["description"]),
            element("p", element("a", f"Try {tag['name']}", href=_try_path(tag["name"]))),
            [
                _operation(path, method, item[method], item.get("parameters", []), document, host)
                for path, item in document["paths"].items()
                for method in ("post", "get")
                if method in item and item[method]["tags"] == [tag["name"]]
            ],
        )
        for tag in document["tags"]
    ]
    description = document["info"]["description"].replace("\n", " ")
    return _page(
        "API",
        element("h1", "API"),
        _prose(description),
        element(
            "p", "This page as a document: ", element("a", "OpenAPI 3.1", href=openapi.PATH), f" ({openapi.PATH}). ",
            "Status of the server: ", element("a", "/benison/status", href="/benison/status"), ".",
        ),
        sections or element("p", "No model is loaded."),
        current="/docs",
    )  # fmt: skip


def try_model(model: ServedModel, signature: Signature) -> str:
    """Return the page at /benison/try/MODEL: a form for one signature."""
    fields = input_fields.fields(signature, model.info)
    members = input_fields.members_signature(model.signatures, signature)
    names = [name for name in model.predict_signatures if name != input_fields.MEMBERS or not members]
    form = element(
        "form",
        element("div", [_control(field) for field in fields], class_="fields"),
        element(
            "div",
            element("button", "Predict", type="submit", class_="primary"),
            element("button", "Example row", type="reset"),
            element("button", "Clear", type="button", id="clear"),
            class_="buttons",
        ),
        id="form",
        novalidate=True,
        aria_label=f"Inputs of {model.name}",
        data_path=f"/v1/models/{quote(model.name, safe='')}",
        data_version=str(model.version),
        data_signature=signature.name,
        data_rows=input_fields.takes_rows(signature),
        data_members=bool(members),
        data_ensemble=json.dumps(
            {"members": model.info.members, "weights": model.info.weights, "combiner": model.info.combiner}
        ),
    )
    links = [
        element("a", name, href=_try_path(model.name, name), aria_current="page" if name == signature.name else None)
        for name in names
    ]
    signature_list = element(
        "nav",
        element("h2", f"Signatures of {model.name}", id="signatures"),
        element("ul", [element("li", link) for link in links]),
        class_="signatures",
        aria_labelledby="signatures",
    )
    return _page(
        f"Try {model.name}",
        element("h1", f"Try {model.name}"),
        element("p", openapi.description(model), class_="lead"),
        element("noscript", element("p", "This form needs JavaScript, which is turned off.", class_="problem")),
        element(
            "div",
            element(
                "section", element("h2", "Row" if input_fields.takes_rows(signature) else "Inputs"), form, class_="card"
            ),
            _results(),
            class_="columns",
        ),
        signature_list if len(names) > 1 else None,
        script="/benison/static/try.js",
    )


def not_found(message: str) -> str:
    """Return the page for an unknown address."""
    return _page("Not found", element("h1", "Not found"), element("p", message, class_="problem"))


def _page(title: str, *content: Markup | list[Markup] | None, current: str = "", script: str = "") -> str:
    links = [
        element("a", name, href=href, aria_current="page" if href == current else None)
        for name, href in (("Models", "/"), ("API", "/docs"))
    ]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{title} – Benison model server"),
        element("link", rel="icon", href="data:,"),
        element("link", rel="stylesheet", href="/benison/static/style.css"),
        element("script", src=script, defer=True) if script else None,
    )
    body = element(
        "body",
        element("a", "Skip to content", href="#content", class_="skip"),
        element(
            "header",
            element("span", "Benison", element("span", " model server", class_="wide"), class_="brand"),
            element("nav", links, aria_label="Pages"),
        ),
        element("main", *content, id="content"),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}"


def _control(field: Field) -> Markup:
    """Return a labelled control with its hint."""
    key, hint = f"input-{field.argument}", field.hint
    value = "" if field.example is None else field.example
    text = value if isinstance(value, str) else json.dumps(value).removesuffix(".0")
    common: dict[str, str | bool | None] = {
        "id": key,
        "name": field.argument,
        "data_kind": field.kind,
        "data_missing": field.missing or None,
        "required": not field.missing and field.kind != "text",
        "aria_describedby": f"{key}-hint" if hint else None,
    }
    if field.kind in ("choice", "boolean"):
        control = element("select", _options(field, text), **common)
    elif field.kind == "json":
        control = element("textarea", json.dumps(value), rows="3", spellcheck="false", **common)
    elif field.kind == "text":
        control = element("input", type="text", value=text, autocomplete="off", **common)
    else:
        control = element(
            "input",
            type="number",
            step="1" if field.kind == "integer" else "any",
            inputmode="decimal"
            if field.low is not None and field.low >= 0
            else None,  # number pads of phones may lack a minus
            value=text,
            autocomplete="off",
            data_low=None if field.low is None else f"{field.low:g}",
            data_high=None if field.high is None else f"{field.high:g}",
            **common,
        )
    return element(
        "div",
        element("label", field.title, for_=key),
        control,
        element("p", hint, id=f"{key}-hint", class_="hint") if hint else None,
        element("p", id=f"{key}-error", class_="error", hidden=True),
        class_="field" if field.kind != "json" else "field wide-field",
    )


def _options(field: Field, chosen: str) -> list[Markup]:
    choices = [(choice, choice) for choice in field.choices]
    if field.kind == "boolean":
        choices = [("false", "no"), ("true", "yes")]
    # An example outside the schema must stay selectable.
    if chosen and chosen not in (value for value, _ in choices):
        choices.append((chosen, chosen))
    missing = [("", "(missing)")] if field.missing else []
    return [
        element("option", text, value=value, selected=value == chosen) for value, text in [*missing, *choices]
    ]  # fmt: skip


def _results() -> Markup:
    return element(
        "section",
        element("h2", "Prediction"),
        element("p", "Press Predict, or press Enter in a field.", id="answer", role="status"),
        element("div", id="outcome"),
        element("div", id="members"),
        element(
            "div",
            element("h3", "Command for this request", id="command-title"),
            element("pre", element("code", id="command"), tabindex="0", role="region", aria_labelledby="command-title"),
            element("button", "Copy", type="button", id="copy"),
            element("details", element("summary", "Response of the server"), _region("sent", "Response of the server")),
            id="request",
            hidden=True,
        ),
        class_="card",
        id="results",
    )


def _region(key: str, label: str) -> Markup:
    """Return a block of text that scrolls horizontally, also by keyboard."""
    return element("pre", element("code", id=key), tabindex="0", role="region", aria_label=label)


def _operation(path: str, method: str, operation: Json, parameters: list[Json], document: Json, host: str) -> Markup:
    request = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    signatures = [
        _signature_details(name, path, example["value"], document["components"]["schemas"], operation["tags"][0], host)
        for name, example in request.get("examples", {}).items()
        if not parameters  # the paths of versions and labels repeat the same signatures
    ]
    response = operation["responses"]["200"]["description"]
    summary = element(
        "summary",
        element("span", method.upper(), class_=f"method {method}"),
        element("code", path),
        element("span", operation["summary"], class_="about"),
    )
    return element(
        "details",
        summary,
        [element("p", element("code", p["name"]), f": {p['description']}") for p in parameters],
        signatures,
        element("p", "Otherwise the same as the path without it." if parameters else f"Response: {response}"),
        class_="operation",
    )


def _signature_details(signature: str, path: str, body: Json, schemas: Json, model: str, host: str) -> Markup:
    """Return the inputs and outputs of a signature and an example request."""
    return element(
        "details",
        element("summary", element("code", signature)),
        _tables(schemas, model, signature),
        element(
            "pre",
            element("code", _curl(host, path, body)),
            tabindex="0",
            role="region",
            aria_label=f"Request for {signature}",
        ),
        class_="signature",
    )


def _tables(schemas: Json, model: str, signature: str) -> Markup:
    """Return the table of a signature's inputs and outputs."""
    prefix = openapi.component_name(model, signature)
    parts = ("Row", "AnswerRow") if f"{prefix}.Row" in schemas else ("Tensors", "AnswerTensors")
    rows = [
        element(
            "tr",
            element("th", name, scope="row"),
            element("td", direction),
            element("td", _type(schema)),
            element("td", schema.get("description", "")),
        )
        for direction, part in zip(("input", "output"), parts, strict=True)
        for name, schema in schemas[f"{prefix}.{part}"]["properties"].items()
    ]
    head = element("tr", *(element("th", title, scope="col") for title in ("Name", "Direction", "Type", "Description")))
    table = element("table", element("thead", head), element("tbody", rows))
    label = f"Inputs and outputs of {signature}"
    return element("div", table, class_="scroll", tabindex="0", role="region", aria_label=label)


def _type(schema: Json) -> str:
    if "anyOf" in schema:
        return "text" if schema["anyOf"][0].get("type") == "string" else _type(schema["anyOf"][0])
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}"
    return str(schema["type"])


def _curl(host: str, path: str, value: Json) -> str:
    body = json.dumps(value, ensure_ascii=False).replace("'", "'\\''")
    return f"curl http://{host}{path} -d '{body}'"


def _prose(text: str) -> Markup:
    """Return a paragraph of text in which backticks mark code."""
    parts = text.split("`")
    return element("p", *(element("code", part) if number % 2 else part for number, part in enumerate(parts)))


def _try_path(model: str, signature: str = "") -> str:
    path = f"/benison/try/{quote(model, safe='')}"
    return f"{path}/{quote(signature, safe='')}" if signature else path
