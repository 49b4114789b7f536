"""ML Metadata on PostgreSQL takes every text that it takes on SQLite."""

from __future__ import annotations

from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from benison.pipelines.records import metadata_store
from tests.integration.postgresql import postgresql


@pytest.mark.system
def test_a_text_with_backslashes_is_stored_and_returned_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ['{"a": "b\\"c"}', "\\", "it's\\n'", "E'x'", "ü\\"]
    with postgresql(tmp_path, "metadata") as address:
        monkeypatch.setenv(metadata_store.VARIABLE, address)
        with metadata_store.of_root(tmp_path) as handle:
            kind = mlmd.ExecutionType(name="node", properties={"config": mlmd.STRING})
            executions = []
            for text in texts:
                execution = mlmd.Execution(type_id=handle.store.put_execution_type(kind))
                execution.properties["config"].string_value = text
                execution.custom_properties["more"].string_value = text
                executions.append(execution)
            numbers = handle.store.put_executions(executions)
        found = metadata_store.open_store(tmp_path).get_executions_by_id(numbers)
    by_id = {execution.id: execution for execution in found}
    for number, text in zip(numbers, texts, strict=True):
        assert by_id[number].properties["config"].string_value == text
        assert by_id[number].custom_properties["more"].string_value == text
