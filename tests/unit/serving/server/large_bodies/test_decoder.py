"""Large bodies are read as small ones are, in another process, within a limit on memory."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import numpy as np
import pytest

from benison.serving.server import inference
from benison.serving.server.codec import column_names, json_examples, json_values
from benison.serving.server.engine import Signature, TensorSpec
from benison.serving.server.large_bodies.decoder import Decoder
from benison.serving.server.status import RequestError, TooLarge

NAN = float("nan")
SPECS = {"f": TensorSpec("float32", (-1,)), "n": TensorSpec("int64", (-1,)), "s": TensorSpec("string", (-1,))}
RAW = Signature("raw", "", SPECS, SPECS, missing={"f": NAN, "s": ""}, columns={"the s": "s"}, raw=True)
ONE = Signature("one", "", {"x": TensorSpec("float64", None)}, {})
TEXT = Signature("text", "", {"x": TensorSpec("string", None)}, {})
_T = TypeVar("_T")


def within(work: Callable[[Decoder], Awaitable[_T]], max_body: int = 1 << 20, max_memory: int = 4 << 20) -> _T:
    async def run() -> _T:
        decoder = Decoder(max_body, max_memory)
        try:
            return await work(decoder)
        finally:
            await decoder.close()

    return asyncio.run(run())


def equal(one: Any, other: Any) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and all(map(same, one.ravel(), other.ravel()))


def same(one: Any, other: Any) -> bool:
    return bool(one == other or (one != one and other != other))


def test_the_tensors_are_those_of_a_small_body() -> None:
    documents: list[tuple[Any, Signature]] = [
        ({"signature_name": "raw", "instances": [{"f": 1.5, "n": 2, "the s": "é"}, {"n": 3}]}, RAW),
        ({"inputs": {"f": [1], "n": [2], "s": [""]}}, RAW),
        ({"instances": [[1.5, float("inf")], [NAN, 2]]}, ONE),
        ({"inputs": [[[1], [2]]]}, ONE),
        ({"inputs": 7}, ONE),
        ({"inputs": []}, ONE),
        ({"instances": ["a", "", "\x00ü" * 100]}, TEXT),
        ({"instances": [{"b64": "/w=="}, "a"]}, TEXT),
    ]

    async def read(decoder: Decoder) -> None:
        for content, signature in documents:
            for gzipped in (False, True):
                body = json.dumps(content).encode()
                async with decoder.document(gzip.compress(body) if gzipped else body, gzipped) as document:
                    assert document.signature_name == content.get("signature_name", "")
                    tensors, row_form = await document.inputs(signature)
                expected, expected_form = column_names.read_inputs(json_values.parse(body), signature)
                assert row_form == expected_form
                assert tensors.keys() == expected.keys()
                assert all(equal(tensors[name], expected[name]) for name in expected)

    within(read)


def test_examples_are_those_of_a_small_body() -> None:
    content = {"signature_name": "c", "context": {"z": 1}, "examples": [{"x": 1.5, "s": "é"}, {"x": 2.5}]}

    async def read(decoder: Decoder) -> tuple[str, Any]:
        async with decoder.document(json.dumps(content).encode(), gzipped=False) as document:
            return document.signature_name, await document.examples()

    name, rows = within(read)
    expected = inference.serialized_examples(json_examples.read_examples(content))
    assert (name, equal(rows, expected)) == ("c", True)


@pytest.mark.parametrize(
    ("body", "gzipped", "kind", "message"),
    [
        (b"{", False, RequestError, "JSON Parse error"),
        (b"no gzip", True, RequestError, "not gzip"),
        (b'{"instances":[' + b"{}," * 20_000 + b"{}]}", False, TooLarge, "may take more than 4194304 bytes of memory"),
        (b'{"instances":[' + b"[]," * 40_000 + b"[]]}", False, TooLarge, "may take more than 4194304 bytes of memory"),
        (b'{"instances":[' + b'"a",' * 50_000 + b'""]}', False, TooLarge, "may take more than 4194304 bytes of memory"),
        (b'{"instances":["\\u0000' + b"a" * 1_050_000 + b'"]}', False, TooLarge, "may take more than 4194304 bytes"),
        (gzip.compress(b"x" * 1_050_000), True, TooLarge, "too long after decompression"),
        (gzip.compress(b'{"instances":[' + b"{}," * 20_000 + b"{}]}"), True, TooLarge, "may take more than 4194304"),
        (b'{"instances":[' + b"{}," * 14_000 + b"{}]}", False, TooLarge, "tensors of the request take more than"),
        (b'{"instances":[{"n":"x"}]}', False, RequestError, "is not of expected type: int64"),
        (b'{"signature_name":1}', False, RequestError, "key must be a string value"),
    ],
)
def test_what_is_wrong_or_becomes_too_large_is_refused_and_the_next_one_is_read(
    body: bytes, gzipped: bool, kind: type[RequestError], message: str
) -> None:
    async def read(decoder: Decoder) -> list[float]:
        with pytest.raises(kind, match=message):
            async with decoder.document(body, gzipped) as document:
                await document.inputs(RAW)
        async with decoder.document(b'{"instances":[1.5]}', gzipped=False) as document:
            return list((await document.inputs(ONE))[0]["x"])

    assert within(read) == [1.5]


def test_bodies_are_read_one_after_the_other_and_by_a_new_process_if_one_ends() -> None:
    async def read(decoder: Decoder) -> list[Any]:
        async def one(number: int) -> Any:
            async with decoder.document(b'{"instances":[%d]}' % number, gzipped=False) as document:
                if number == 5:
                    assert decoder._process is not None
                    decoder._process.kill()
                return (await document.inputs(ONE))[0]["x"].tolist()

        return await asyncio.gather(*map(one, range(20)), return_exceptions=True)

    answers = within(read)
    assert isinstance(answers.pop(5), TooLarge)
    assert answers == [[float(number)] for number in range(20) if number != 5]


def test_a_body_waits_for_its_turn_no_longer_than_it_may() -> None:
    async def read(decoder: Decoder) -> None:
        async with decoder.document(b"{}", gzipped=False):
            with pytest.raises(RequestError, match="Timed out while other large bodies were read"):
                async with decoder.document(b"{}", gzipped=False, seconds=0.05):
                    raise AssertionError
        async with decoder.document(b"{}", gzipped=False, seconds=60):
            pass

    within(read)


def test_the_memory_of_a_document_is_bounded_before_its_objects_are_made() -> None:
    import tracemalloc

    for piece in (b"{}", b"[]", b'{"a":1}', b'"ab"', b"1.5", b"12345678", b'{"a":{"b":[1.5,"x"]}}', '"é😀"'.encode()):
        body = b"[" + b",".join([piece] * 5000) + b"]"
        tracemalloc.start()
        value = json.loads(body)
        used = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(value) == 5000
        assert used <= json_values.memory(body)


def test_a_text_array_of_no_rows_comes_back() -> None:
    async def read(decoder: Decoder) -> Any:
        async with decoder.document(b'{"inputs":[]}', gzipped=False) as document:
            return (await document.inputs(TEXT))[0]["x"]

    assert np.array_equal(within(read), np.empty(0, object))
