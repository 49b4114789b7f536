"""The OpenAPI document is valid and describes the requests and responses of the models; the pages show it."""

from __future__ import annotations

import base64
import json
import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from benison.serving.server.engine import Signature
from benison.serving.server.engines import raw_inputs
from benison.serving.server.pages import html_pages, input_fields, model_info, openapi
from benison.serving.server.pages.model_info import ModelInfo
from benison.serving.server.pages.openapi import ServedModel
from benison.serving.versions.input_columns import InputColumn
from tests.unit.serving.served_penguins import RAW, SIGNATURES, served, write_folder


@pytest.fixture
def penguins(tmp_path: Path) -> ServedModel:
    return served(tmp_path / "7")


def fields(signature: str, info: ModelInfo) -> dict[str, input_fields.Field]:
    return {field.argument: field for field in input_fields.fields(SIGNATURES[signature], info)}


def accepts(document: dict[str, Any], component: str, value: Any) -> bool:
    schema = {"$ref": f"#/components/schemas/{component}", "components": document["components"]}
    return bool(Draft202012Validator(schema).is_valid(value))


# --- the information beside a SavedModel ------------------------------------------------------------------------------


def test_a_folder_describes_the_data_and_the_weights_of_members(tmp_path: Path) -> None:
    info = model_info.read(str(write_folder(tmp_path / "7")))
    assert info.label == "species"
    assert info.members == ("linear", "deep")
    assert info.combiner == "weighted_mean"
    assert info.weights == {"linear": 0.25, "deep": 0.75}
    assert info.columns["island"] == InputColumn("island", "string", ("Biscoe", "<Dream>"))
    assert info.columns["bill_length__mm_"] == InputColumn("bill length (mm)", "float32", low=0.0, high=80.5)
    assert info.columns["mass"] == InputColumn("mass", "int64", low=1500, high=9001)


@pytest.mark.parametrize(
    ("combiner", "weights"),
    [
        ("mean", {"a": 0.5, "b": 0.5}),
        ({"kind": "soft_vote", "weights": {}}, {"a": 0.5, "b": 0.5}),
        ({"kind": "weighted_mean", "weights": {"b": 2}}, {"a": 0.0, "b": 1.0}),
        ("median", {}),
        ({"kind": "stacking", "coefficients": {"a": [1.0]}}, {}),
        ({"kind": "weighted_mean", "weights": {"a": "much"}}, {}),
        (None, {}),
    ],
)
def test_weights_sum_to_one_if_the_combiner_has_weights(
    tmp_path: Path, combiner: Any, weights: dict[str, float]
) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"members": ["a", "b"], "combiner": combiner}))
    assert model_info.read(str(tmp_path)).weights == weights


@pytest.mark.parametrize(("given", "weights"), [({"a": 1, "b": 3}, {"a": 0.25, "b": 0.75}), ({}, {"a": 0.5, "b": 0.5})])
def test_a_manifest_may_have_the_weights_beside_the_combiner(
    tmp_path: Path, given: dict[str, float], weights: dict[str, float]
) -> None:
    manifest = {"members": ["a", "b"], "combiner": "soft_vote", "weights": given}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert model_info.read(str(tmp_path)).weights == weights


def test_a_model_of_another_tool_has_no_information(tmp_path: Path) -> None:
    assert model_info.read(str(tmp_path)) == ModelInfo()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("manifest.json", "{"),
        ("manifest.json", "[]"),
        ("manifest.json", '{"members": 3}'),
        ("assets.extra/schema.pbtxt", "feature {"),
        ("assets.extra/schema.pbtxt", "\x00"),
        ("assets.extra/tf_serving_warmup_requests", "no records"),
    ],
)
def test_broken_files_are_skipped(tmp_path: Path, file: str, content: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(content)
    assert model_info.read(str(tmp_path)) == ModelInfo()


def test_the_first_warm_up_request_is_the_example(tmp_path: Path) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    folder = write_folder(tmp_path / "7")
    rows = [("Biscoe", 40.5, -1), ("Dream", math.nan, 3000)]
    with tf.io.TFRecordWriter(str(folder / "assets.extra" / "tf_serving_warmup_requests")) as file:
        for row in rows:
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = "raw"
            for name, value, dtype in zip(
                ("island", "bill_length__mm_", "mass"), row, (tf.string, tf.float32, tf.int64), strict=True
            ):
                request.inputs[name].CopyFrom(tf.make_tensor_proto([value], dtype))
            file.write(log.SerializeToString())
    example = model_info.read(str(folder)).examples["raw"]
    assert example == {"island": "Biscoe", "bill_length__mm_": 40.5, "mass": -1}


# --- forms ------------------------------------------------------------------------------------------------------------


def test_fields_follow_the_schema(penguins: ServedModel) -> None:
    form = fields("raw", penguins.info)
    assert list(form) == ["island", "bill_length__mm_", "mass", "note"]  # the schema's order
    assert [field.kind for field in form.values()] == ["choice", "number", "integer", "text"]
    assert [field.missing for field in form.values()] == ["", "NaN", "-9007199254740991", '""']
    assert [field.example for field in form.values()] == ["Biscoe", 40.2, 5250, None]
    assert form["bill_length__mm_"].title == "bill length (mm)"
    assert form["bill_length__mm_"].hint == "number, 0 to 80.5; optional"


def test_without_a_schema_fields_follow_the_signature() -> None:
    form = fields("raw", ModelInfo())
    assert [field.kind for field in form.values()] == ["number", "text", "integer", "text"]
    assert [field.example for field in form.values()] == [None, "", None, None]


@pytest.mark.parametrize(
    ("signature", "kind", "example"),
    [
        ("image", "json", [[0, 0, 0], [0, 0, 0]]),
        ("total", "json", [0]),  # its output has no rows, so a request sends whole tensors
        ("flag", "boolean", False),
        ("label it", "text", ""),
    ],
)
def test_every_kind_of_input_can_be_filled_in(signature: str, kind: str, example: Any) -> None:
    (field,) = fields(signature, ModelInfo()).values()
    assert (field.kind, field.example) == (kind, example)


def test_the_tf_example_of_the_form_fits_the_schema(penguins: ServedModel) -> None:
    import tensorflow as tf

    (field,) = fields("serving_default", penguins.info).values()
    features = tf.train.Example.FromString(base64.b64decode(field.example["b64"])).features.feature
    assert features["bill length (mm)"].float_list.value[0] == pytest.approx(40.2)
    assert features["mass"].int64_list.value == [5250]
    assert features["island"].bytes_list.value == [b"Biscoe"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (SIGNATURES.keys(), "raw"),
        (["image", "serving_default"], "image"),  # a person cannot type a tf.Example …
        (["serving_default", "__saved_model_init_op"], "serving_default"),  # … unless there is nothing else
        (["total", "flag", "members"], "flag"),
        (["__saved_model_init_op"], None),
    ],
)
def test_the_form_uses_a_signature_whose_inputs_can_be_typed(names: Any, expected: str | None) -> None:
    signature = input_fields.form_signature({name: SIGNATURES[name] for name in names})
    assert (signature.name if signature else None) == expected


# --- the document -----------------------------------------------------------------------------------------------------


def test_the_document_is_valid_openapi(penguins: ServedModel) -> None:
    odd = ServedModel("a b/ü", 1, (), SIGNATURES, ModelInfo())
    for models in ((), (penguins,), (odd, penguins)):
        validate(json.loads(json.dumps(openapi.document(models), allow_nan=False)))


def test_the_document_has_every_path_of_a_model(penguins: ServedModel) -> None:
    paths = openapi.document((penguins,))["paths"]
    verbs = ("", ":predict", ":classify", "/metadata")  # no signature is for regression
    prefixes = ("", "/versions/{version}", "/labels/{label}")
    expected = {f"/v1/models/penguins{prefix}{verb}" for prefix in prefixes for verb in verbs}
    assert set(paths) == {*expected, "/benison/status"}


def test_every_example_fits_its_own_schema(penguins: ServedModel) -> None:
    document = openapi.document((penguins,))
    body = document["paths"]["/v1/models/penguins:predict"]["post"]["requestBody"]["content"]["application/json"]
    assert list(body["examples"]) == [
        "raw",
        *(name for name in SIGNATURES if name not in ("raw", "__saved_model_init_op")),
    ]
    for name, example in body["examples"].items():
        assert accepts(document, f"{openapi.component_name('penguins', name)}.Request", example["value"]), name


ROW = {"island": "Biscoe", "bill_length__mm_": 40.5, "mass": 3000, "note": ""}


@pytest.mark.parametrize(
    ("signature", "request_body", "fits"),
    [
        ("raw", {"signature_name": "raw", "instances": [ROW]}, True),
        ("raw", {"signature_name": "raw", "inputs": {name: [value] for name, value in ROW.items()}}, True),
        ("raw", {"signature_name": "raw", "instances": [{**ROW, "island": {"b64": "/w=="}}]}, True),
        ("raw", {"signature_name": "raw", "instances": [{**ROW, "island": "elsewhere"}]}, True),
        ("raw", {"instances": [ROW]}, False),  # without a name it is serving_default
        ("raw", {"signature_name": "raw", "instances": []}, False),
        ("raw", {"signature_name": "raw", "instances": [{**ROW, "mass": 1.5}]}, False),
        ("raw", {"signature_name": "raw", "instances": [{"island": "Biscoe"}]}, False),
        ("serving_default", {"instances": [{"b64": "/w=="}]}, True),
        ("serving_default", {"instances": [{"examples": {"b64": "/w=="}}]}, True),
        ("image", {"signature_name": "image", "instances": [[[1, 2, 3], [4, 5, 6]]]}, True),
        ("image", {"signature_name": "image", "instances": [[[1, 2], [3, 4]]]}, False),
        ("total", {"signature_name": "total", "inputs": [1.0, 2.0]}, True),
        ("total", {"signature_name": "total", "instances": [1.0, 2.0]}, False),
    ],
)
def test_the_schema_of_requests_matches_the_server(
    penguins: ServedModel, signature: str, request_body: Any, fits: bool
) -> None:
    assert accepts(openapi.document((penguins,)), f"penguins.{signature}.Request", request_body) is fits


@pytest.mark.parametrize(
    ("signature", "answer", "fits"),
    [
        ("raw", {"predictions": [{"classes": ["a", "b"], "probabilities": [0.25, 0.75]}]}, True),
        ("raw", {"outputs": {"classes": [["a", "b"]], "probabilities": [[0.25, 0.75]]}}, True),
        ("raw", {"predictions": [[0.25, 0.75]]}, False),
        ("serving_default", {"predictions": [[0.25, 0.75]]}, True),  # a single output goes without its name
        ("serving_default", {"predictions": [{"probabilities": [0.25, 0.75]}]}, False),
        ("total", {"outputs": 3.0}, True),
        ("total", {"predictions": [3.0]}, False),
    ],
)
def test_the_schema_of_answers_matches_the_server(
    penguins: ServedModel, signature: str, answer: Any, fits: bool
) -> None:
    assert accepts(openapi.document((penguins,)), f"penguins.{signature}.Answer", answer) is fits


# --- pages ------------------------------------------------------------------------------------------------------------


class Outline(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def having(self, tag: str, attribute: str) -> list[str]:
        return [str(found[attribute]) for name, found in self.elements if name == tag and attribute in found]


def all_pages(model: ServedModel) -> dict[str, str]:
    form_pages = {
        f"try {name}": html_pages.try_model(model, signature) for name, signature in model.predict_signatures.items()
    }  # fmt: skip
    return {
        "home": html_pages.home((model,), {"gone": "No version found"}),
        "docs": html_pages.docs(openapi.document((model,)), "localhost:8501"),
        "lost": html_pages.not_found("nothing"),
        **form_pages,
    }


def test_the_lead_names_the_positive_class_and_its_threshold(tmp_path: Path) -> None:
    manifest = write_folder(tmp_path) / "manifest.json"
    facts = {**json.loads(manifest.read_text()), "positive": "yes", "threshold": 0.25}
    for threshold, words in (
        (0.25, "positive class yes (threshold 0.25); "),
        (None, "yes; "),
    ):
        manifest.write_text(json.dumps({**facts, "threshold": threshold}))
        model = ServedModel("votes", 7, (), SIGNATURES, model_info.read(str(tmp_path)))
        assert words in openapi.description(model)
        assert words in html_pages.try_model(model, SIGNATURES["raw"])


def test_every_control_has_a_label_and_every_description_exists(penguins: ServedModel) -> None:
    for name, html in all_pages(penguins).items():
        page = Outline(html)
        ids = [str(found["id"]) for _, found in page.elements if "id" in found]
        assert len(ids) == len(set(ids)), name
        controls = [str(found["id"]) for tag, found in page.elements if tag in ("input", "select", "textarea")]
        assert set(controls) == set(page.having("label", "for")), name
        described = {key for tag in ("input", "select", "textarea") for key in page.having(tag, "aria-describedby")}
        assert described <= set(ids), name
        assert page.having("html", "lang") == ["en"]


def test_pages_load_nothing_from_elsewhere(penguins: ServedModel) -> None:
    for html in all_pages(penguins).values():
        page = Outline(html)
        urls = [*page.having("script", "src"), *page.having("link", "href"), *page.having("a", "href")]
        assert all(url.startswith(("/", "#", "data:")) for url in urls)
        assert "style" not in {tag for tag, _ in page.elements}
        assert not [found for _, found in page.elements if any(name.startswith("on") for name in found)]


def test_names_of_models_and_columns_are_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\"'&"
    info = served(tmp_path / "7").info
    column = InputColumn(evil, "string", (evil,))
    inputs = {evil: RAW["island"]}
    raw = Signature("raw", "", inputs, {"y": RAW["mass"]})
    model = ServedModel(
        evil, 1, (evil,), {"raw": raw}, ModelInfo(evil, (evil,), evil, {evil: 1.0}, {evil: column}, info.examples)
    )
    for html in all_pages(model).values():
        assert "<script>alert" not in html
        assert [tag for tag, _ in Outline(html).elements].count("script") <= 1
    assert evil in Outline(html_pages.home((model,), {})).text


def test_the_form_offers_the_schemas_values_and_the_example(penguins: ServedModel) -> None:
    page = Outline(html_pages.try_model(penguins, SIGNATURES["raw"]))
    assert page.having("option", "value") == ["Biscoe", "<Dream>"]
    (number,) = [found for tag, found in page.elements if found.get("name") == "bill_length__mm_"]
    assert (number["type"], number["value"], number["step"]) == ("number", "40.2", "any")
    (form,) = [found for tag, found in page.elements if tag == "form"]
    assert (form["data-signature"], form["data-version"]) == ("raw", "7")
    assert "data-members" in form


# --- original column names --------------------------------------------------------------------------------------------


def test_a_version_of_an_older_benison_tells_its_columns_by_the_schema(tmp_path: Path) -> None:
    arguments = raw_inputs.read(str(write_folder(tmp_path / "7"))).arguments
    assert arguments["bill length (mm)"] == "bill_length__mm_"
    assert raw_inputs.read(str(tmp_path)) == raw_inputs.RawInputs()
