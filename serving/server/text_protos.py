"""Message classes for TF Serving's config files that tensorflow-serving-api lacks: text protos of few fields."""

from __future__ import annotations

from functools import cache
from typing import Any

from benison.serving import proto_text
from benison.serving.proto_text import read as read

_WRAPPERS = {"Int64Value": "int64", "BoolValue": "bool", "StringValue": "string"}
_MESSAGES: proto_text.Messages = {
    "SSLConfig": {
        "server_key": (1, "string"),
        "server_cert": (2, "string"),
        "custom_ca": (3, "string"),
        "client_verify": (4, "bool"),
    },
    "PrometheusConfig": {"enable": (1, "bool"), "path": (2, "string")},
    "MonitoringConfig": {"prometheus_config": (1, "PrometheusConfig")},
    "BatchingParameters": {
        "max_batch_size": (1, "Int64Value"),
        "batch_timeout_micros": (2, "Int64Value"),
        "max_enqueued_batches": (3, "Int64Value"),
        "num_batch_threads": (4, "Int64Value"),
        "thread_pool_name": (5, "StringValue"),
        "allowed_batch_sizes": (6, "repeated int64"),
        "pad_variable_length_inputs": (7, "bool"),
        "enable_large_batch_splitting": (8, "BoolValue"),
        "max_execution_batch_size": (9, "Int64Value"),
    },
    "HealthCheckRequest": {"service": (1, "string")},
} | {name: {"value": (1, scalar)} for name, scalar in _WRAPPERS.items()}


@cache
def message_class(name: str) -> Any:
    """Return the class of one of the messages above."""
    return proto_text.message_class(name, _MESSAGES)
