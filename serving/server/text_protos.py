"""TF Serving's config files that tensorflow-serving-api has no classes for: text protos of a few fields each.

The messages are described here, in a pool of their own, so that a client's generated classes in the same process never
clash with them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from benison.serving.proto_text import read as read

_SCALARS = {"string": 9, "bool": 8, "int64": 3, "float": 2}  # FieldDescriptorProto's numbers
_ENUMS = {"FeatureType": {"TYPE_UNKNOWN": 0, "BYTES": 1, "INT": 2, "FLOAT": 3, "STRUCT": 4}}
_WRAPPERS = {"Int64Value": "int64", "BoolValue": "bool", "StringValue": "string"}
# message: {field: (number, type)}; "repeated" in front where it is.
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
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
    # TensorFlow Metadata's Schema, as far as the server's pages show it.
    "Schema": {"feature": (1, "repeated Feature"), "string_domain": (4, "repeated StringDomain")},
    "Feature": {
        "name": (1, "string"),
        "type": (6, "FeatureType"),
        "domain": (7, "string"),
        "int_domain": (9, "IntDomain"),
        "float_domain": (10, "FloatDomain"),
        "string_domain": (11, "StringDomain"),
        "shape": (23, "FixedShape"),
    },
    "FixedShape": {},
    "IntDomain": {"min": (3, "int64"), "max": (4, "int64")},
    "FloatDomain": {"min": (3, "float"), "max": (4, "float")},
    "StringDomain": {"name": (1, "string"), "value": (2, "repeated string")},
} | {name: {"value": (1, kind)} for name, kind in _WRAPPERS.items()}


@cache
def message_class(name: str) -> Any:
    """The class of one of the messages above."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    # Not proto3, which cannot tell a limit of 0 from none.
    file = descriptor_pb2.FileDescriptorProto(name="benison_text_protos.proto", package="benison", syntax="proto2")
    for enum, values in _ENUMS.items():
        listed = file.enum_type.add(name=enum)
        for value, number in values.items():
            listed.value.add(name=value, number=number)
    for message, members in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for member, (number, kind) in members.items():
            repeated, _, plain = kind.rpartition(" ")
            entry = described.field.add(name=member, number=number, label=3 if repeated else 1)
            if plain in _SCALARS:
                entry.type = _SCALARS[plain]
            else:
                entry.type, entry.type_name = 14 if plain in _ENUMS else 11, f".benison.{plain}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    descriptor = pool.FindMessageTypeByName(f"benison.{name}")
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)  # protobuf 3, with TFX on Python 3.10
