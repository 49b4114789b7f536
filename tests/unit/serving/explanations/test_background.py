"""The background rows of a version come back as they were written."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benison.serving.errors import VersionError
from benison.serving.explanations import background


def test_rows_come_back_as_they_were_written(tmp_path):
    (tmp_path / "assets.extra").mkdir()
    rows = {
        "text": np.array([b"caf\xc3\xa9", b"", b"\xff\xfe"], object),
        "float": np.array([1.5, np.nan, -2.0], np.float32),
        "integer": np.array([2**40, -9007199254740991, 0]),
        "list": np.array([[1.0, np.nan], [2.0, 3.0], [0.5, 0.1]], np.float32),
        "texts": np.array([[b"a", b"b"], [b"", b""], [b"c", b""]], object),
    }
    background.write(tmp_path / background.PLACE, rows)
    found = background.read(tmp_path)
    assert found is not None
    assert found.keys() == rows.keys()
    for name, values in rows.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)
    json.loads((tmp_path / background.PLACE).read_text(), parse_constant=pytest.fail)


def test_a_version_without_the_file_has_none_and_a_broken_file_is_named(tmp_path):
    assert background.read(tmp_path) is None
    (tmp_path / "assets.extra").mkdir()
    for text, message in (("{", "not a sample of rows"), ('{"format": 2, "inputs": {}}', "a newer Benison")):
        (tmp_path / background.PLACE).write_text(text)
        with pytest.raises(VersionError, match=message):
            background.read(tmp_path)
