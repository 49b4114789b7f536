"""Message classes for TF Serving's config files that tensorflow-serving-api lacks: text protos with a few fields each.

The messages have their own descriptor pool, so they never clash with a client's generated classes in the same process.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from benison.serving.proto_text import read as read

_SCALARS = {"string": 9, "bool": 8, "int64": 3, "float": 2}  # FieldDescriptorProto's numbers
_ENUMS = {"FeatureType": {"TYPE_UNKNOWN": 0, "BYTES": 1, "INT": 2, "FLOAT": 3, "STRUCT": 4}}
_WRAPPERS = {"Int64Value": "int64", "BoolValue": "bool", "StringValue": "string"}
# message: {field: (number, type)}; the type of a repeated field begins with "repeated".
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
    # The part of TensorFlow Metadata's Schema that the server's pages show.
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
} | {name: {"value": (1, scalar)} for name, scalar in _WRAPPERS.items()}


@cache
def message_class(name: str) -> Any:
    """Return the class of one of the messages above."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    # proto2, because proto3 cannot distinguish a limit of 0 from no limit.
    file = descriptor_pb2.FileDescriptorProto(name="benison_text_protos.proto", package="benison", syntax="proto2")
    for enum, values in _ENUMS.items():
        enum_type = file.enum_type.add(name=enum)
        for value, number in values.items():
            enum_type.value.add(name=value, number=number)
    for message, fields in _MESSAGES.items():
        message_type = file.message_type.add(name=message)
        for field_name, (number, type_text) in fields.items():
            repeated, _, type_name = type_text.rpartition(" ")
            field = message_type.field.add(name=field_name, number=number, label=3 if repeated else 1)
            if type_name in _SCALARS:
                field.type = _SCALARS[type_name]
            else:
                field.type, field.type_name = 14 if type_name in _ENUMS else 11, f".benison.{type_name}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    descriptor = pool.FindMessageTypeByName(f"benison.{name}")
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)  # protobuf 3, with TFX on Python 3.10
