"""The server reads any request in a time that grows with its length, whatever the request repeats."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benison.serving.server.codec import column_names, json_examples, json_values
from benison.serving.server.engine import Signature, TensorSpec
from benison.serving.server.rest.api import parse_target
from benison.serving.server.status import RequestError

SIZE = 100_000  # bytes; a time that grows with its square is minutes
INPUTS = {"a": TensorSpec("float32", (-1,)), "n": TensorSpec("int64", (-1,)), "s": TensorSpec("string", (-1,))}
FORMS = {"a": "1,234.5", "n": "1,234.5"}
RAW = Signature("raw", "", INPUTS, {}, missing={"s": ""}, columns={"the s": "s"}, amounts=FORMS, raw=True)
PIECES = [
    '\\"', '"', "[", "{", '{"x":', '{"a":[', "]", "}", ",", ":", "Inf", "Inf,", "-Inf ", '"Inf"', "\\", "\\u0041", "\\ud800",
    " ", "\n", "9", "1.", "1,234", "0,", "1e9", "NaN,", "{},", "[],", '"",', '"a",', "é", "😀", "\ufeff", "//", "/*", "\x00", "true",
    '{"a":"1,2","n":3,"s":null},', '{"b64":"', '"$1",',
]  # fmt: skip
STARTS = [
    '{"instances":["',
    '{"instances":[NaN,',
    '{"instances":[',
    '{"inputs":{"a":["',
    '{"examples":[{"x":',
    '["',
    "",
]


def read(body: bytes) -> None:
    """Read a body in every way in which a request may be read."""
    for read_document in (lambda document: column_names.read_inputs(document, RAW), json_examples.read_examples):
        with contextlib.suppress(RequestError):
            read_document(json_values.parse(body))


def seconds(body: bytes) -> float:
    begun = time.process_time()
    read(body)
    return time.process_time() - begun


@pytest.fixture(scope="module", autouse=True)
def imports() -> None:
    """Import TensorFlow's messages before the time is taken."""
    read(b'{"examples":[{"x":1}]}')


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("piece", PIECES, ids=ascii)
def test_a_body_that_repeats_itself_is_read_in_a_moment(start: str, piece: str) -> None:
    assert seconds((start + piece * (SIZE // len(piece.encode()))).encode()) < 10


@pytest.mark.soak
@pytest.mark.timeout(3600)
@settings(max_examples=5000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    start=st.sampled_from(STARTS),
    parts=st.lists(st.sampled_from(PIECES) | st.text(max_size=3), min_size=1, max_size=4),
    end=st.sampled_from(["", '"', '"]}', "]}", "]}}", "}]}"]),
)
def test_the_time_per_byte_is_bounded(start: str, parts: list[str], end: str) -> None:
    piece = "".join(parts).encode("utf-8", "surrogatepass")
    body = start.encode() + piece * (SIZE // max(len(piece), 1)) + end.encode()
    assert seconds(body) / SIZE < 20e-6


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (r'["\"Inf", Inf]', [r'"Inf', float("inf")]),
        (r'["\\", Inf, "Inf\\\\"]', ["\\", float("inf"), r"Inf\\"]),
        ('["Inf\nInf", -Inf]', None),  # a line break in a string
        ('["Inf', None),
        ("[Inf, Infinity, -Inf]", [float("inf"), float("inf"), float("-inf")]),
        ("[Info]", None),
    ],
)
def test_inf_is_a_number_outside_strings_only(body: str, value: list[object] | None) -> None:
    text = f'{{"x": {body}}}'.encode()
    if value is None:
        with pytest.raises(RequestError, match="JSON Parse error"):
            json_values.parse(text)
    else:
        assert json_values.parse(text) == {"x": value}


def test_an_excerpt_does_not_write_all_of_a_large_value() -> None:
    class Counted(list[int]):
        def __iter__(self) -> Iterator[int]:
            for position, number in enumerate(super().__iter__()):
                assert position < 300
                yield number

    assert json_values.excerpt({"x": Counted([1] * 1000)}).startswith('{"x": [1, 1, ')
    assert len(json_values.excerpt(["é" * 1000])) == len(json_values.excerpt([[1] * 1000])) == 256
    assert json_values.excerpt({"a": [None, True, "é"]}) == '{"a": [null, true, "é"]}'


def test_lists_in_an_amount_may_be_nested_as_deeply_as_json_allows() -> None:
    deep = b'{"instances":[{"a":' + b"[" * 1000 + b"]" * 1000 + b',"n":1}]}'
    with pytest.raises(RequestError, match="nested deeper than 31 levels"):
        column_names.read_inputs(json_values.parse(deep), RAW)


def test_a_version_of_many_digits_is_a_number_or_refused() -> None:
    assert parse_target("POST", f"/v1/models/m/versions/{'0' * 50_000}7:predict").version == 7
    assert parse_target("GET", "/v1/models/m/versions/0").version == 0
    with pytest.raises(RequestError, match="Failed to convert version: 7777"):
        parse_target("POST", f"/v1/models/m/versions/{'7' * 50_000}:predict")
