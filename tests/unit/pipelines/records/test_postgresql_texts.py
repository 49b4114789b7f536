"""Texts on their way to ML Metadata on PostgreSQL and back."""

from __future__ import annotations

from typing import Any, cast

from ml_metadata.proto import metadata_store_pb2 as mlmd
from ml_metadata.proto import metadata_store_service_pb2 as service

from benison.pipelines.records import postgresql_texts


class _Store:
    """A store that keeps its requests."""

    def _call_method(self, method: str, request: Any, response: Any) -> None:
        (execution,) = request.executions
        assert "\\" not in execution.name + execution.properties["config"].string_value
        response.executions.extend(request.executions)


def test_the_store_never_sees_a_backslash_and_the_caller_always_does() -> None:
    store = cast(Any, postgresql_texts.settle(cast(Any, _Store())))
    execution = mlmd.Execution(name="a\\b")
    execution.properties["config"].string_value = '{"a": "\\"b\\""}'
    execution.custom_properties["plain"].string_value = "ü"
    execution.custom_properties["number"].int_value = 92
    request = service.PutExecutionsRequest(executions=[execution])
    answer = service.GetExecutionsByIDResponse()
    store._call_method("PutExecutions", request, answer)
    assert list(answer.executions) == [execution] == list(request.executions)
