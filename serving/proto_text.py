"""Read text protos from files, and make the classes of messages for which no library has one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benison.serving.errors import UsageError

# {message: {field: (number, type)}}; the type of a repeated field begins with "repeated".
Messages = Mapping[str, Mapping[str, tuple[int, str]]]

_SCALARS = {"string": 9, "bool": 8, "int64": 3, "float": 2}  # FieldDescriptorProto's numbers


def read(path: str, message: Any, *, unknown_fields: bool = False) -> Any:
    """Fill a message from a text proto file, and return it.

    Args:
        path: The file.
        message: An empty message.
        unknown_fields: Ignore fields that the message lacks.

    Raises:
        UsageError: The file cannot be read or is not such a message; the error names the line.
    """
    from google.protobuf import text_format

    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error.strerror if isinstance(error, OSError) else 'not UTF-8'}") from None
    try:
        return text_format.Parse(text, message, allow_unknown_field=unknown_fields)
    except text_format.ParseError as error:
        problem = str(error).replace(" : ", ": ", 1)  # as the C++ parser writes it
        raise UsageError(f"{path}: Error parsing text-format {message.DESCRIPTOR.full_name}: {problem}") from None


def message_class(name: str, messages: Messages, enums: Mapping[str, Mapping[str, int]] | None = None) -> Any:
    """Return the class of a message.

    It has a descriptor pool of its own, so it never clashes with another library's class of the same message.

    Args:
        name: The message.
        messages: It, and the messages in it.
        enums: The numbers of the enums in them, by name.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    # proto2, because proto3 cannot distinguish a limit of 0 from no limit.
    file = descriptor_pb2.FileDescriptorProto(name="benison_text_protos.proto", package="benison", syntax="proto2")
    for enum, values in (enums or {}).items():
        enum_type = file.enum_type.add(name=enum)
        for value, number in values.items():
            enum_type.value.add(name=value, number=number)
    for message, fields in messages.items():
        message_type = file.message_type.add(name=message)
        for field_name, (number, type_text) in fields.items():
            repeated, _, type_name = type_text.rpartition(" ")
            field = message_type.field.add(name=field_name, number=number, label=3 if repeated else 1)
            if type_name in _SCALARS:
                field.type = _SCALARS[type_name]
            else:
                field.type, field.type_name = 14 if type_name in (enums or {}) else 11, f".benison.{type_name}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    descriptor = pool.FindMessageTypeByName(f"benison.{name}")
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)  # protobuf 3, with TFX on Python 3.10
