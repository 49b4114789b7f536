"""Finds operations that reach outside of a model: they read or write files, use the network, or run other code.

This is a list of TensorFlow's operations and no sandbox. It lacks those of libraries that a user adds to TensorFlow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from benison.serving.server.graphs.indexed import IndexedGraph, called_functions
from benison.serving.server.graphs.operation import names
from benison.serving.server.graphs.own_files import Tensors

# Operations that read one file, and the place of its name among their inputs.
_READERS = {
    "ReadFile": 0,
    "Restore": 0,
    "RestoreSlice": 0,
    "RestoreV2": 0,
    "InitializeTableFromTextFile": 1,
    "InitializeTableFromTextFileV2": 1,
}
_FILES = names(
    "WriteFile MatchingFiles Save SaveSlices SaveV2 DTensorRestoreV2 MergeV2Checkpoints LoadAndRemapMatrix "
    "GenerateVocabRemapping Skipgram RecordInput FileSystemSetConfiguration InitializeTRTResource "
    "SerializeTRTResource WholeFileReader WholeFileReaderV2 TextLineReader TextLineReaderV2 FixedLengthRecordReader "
    "FixedLengthRecordReaderV2 TFRecordReader TFRecordReaderV2 LMDBReader MatchingFilesDataset "
    "ExperimentalMatchingFilesDataset TextLineDataset FixedLengthRecordDataset FixedLengthRecordDatasetV2 "
    "TFRecordDataset TFRecordDatasetV2 CSVDataset CSVDatasetV2 ExperimentalCSVDataset SqlDataset "
    "ExperimentalSqlDataset LMDBDataset ExperimentalLMDBDataset CacheDataset CacheDatasetV2 SnapshotDataset "
    "SnapshotDatasetV2 SnapshotDatasetReader SnapshotNestedDatasetReader SnapshotChunkDataset "
    "ListSnapshotChunksDataset SaveDataset SaveDatasetV2 LoadDataset DatasetToTFRecord "
    "ExperimentalDatasetToTFRecord CreateSummaryFileWriter CreateSummaryDbWriter DumpTensor DebugIdentity "
    "DebugIdentityV2 DebugIdentityV3 DebugNanCount DebugNumericSummary DebugNumericSummaryV2"
)
_NETWORK = names(
    "RpcServer RpcServerStart RpcServerRegister RpcClient RpcCall DataServiceDataset DataServiceDatasetV2 "
    "DataServiceDatasetV3 DataServiceDatasetV4 RegisterDataset RegisterDatasetV2 DistributedSave"
)
# Python, and graphs that are made while the model runs or that other operations stand for.
_CODE = names("PyFunc PyFuncStateless EagerPyFunc DatasetFromGraph SymbolicGradient")
_KINDS: Mapping[str, str] = {
    **dict.fromkeys([*_READERS, *_FILES], "files"),
    **dict.fromkeys(_NETWORK, "the network"),
    **dict.fromkeys(_CODE, "code outside of its graph"),
}
# Operations that use a file if an attribute names one: the attribute, and which values name one.
_FILE_ATTRIBUTES: Mapping[str, tuple[str, Callable[[bytes], bool]]] = {
    "FixedUnigramCandidateSampler": ("vocab_file", bool),
    "PrintV2": ("output_stream", lambda stream: stream.startswith(b"file:")),
    "DecodeProtoV2": ("descriptor_source", lambda source: not _is_inside(source)),
    "EncodeProto": ("descriptor_source", lambda source: not _is_inside(source)),
}
# Operations that use a file unless the text at this place among their inputs is empty.
_FILES_IF_NAMED = {"CacheDataset": 1, "CacheDatasetV2": 1}
_CALLS = frozenset(["PartitionedCall", "StatefulPartitionedCall"])  # their inputs are the arguments


def _is_inside(descriptor_source: bytes) -> bool:
    return not descriptor_source or descriptor_source.startswith((b"local://", b"bytes://"))


def kind_of(operation_type: str) -> str:
    """Return what operations of this type reach, such as `files`; empty if they stay inside of the model."""
    return _KINDS.get(operation_type, "")


def reach_of(node: Any) -> str:
    """Return what an operation reaches outside of the model if its inputs name files; empty if nothing."""
    return _reach(node, Tensors({}))


class Outside:
    """Finds operations that reach outside, in one graph."""

    def __init__(self, graph: IndexedGraph) -> None:
        """Look at nothing yet."""
        self._graph = graph
        self._alternatives: dict[bytes, list[str]] = defaultdict(list)  # TensorFlow may call one for another
        for name, function in graph.functions.items():
            if interface := function.attr["api_implements"].s if "api_implements" in function.attr else b"":
                self._alternatives[interface].append(name)

    def operation(self, outputs: Iterable[str], own_files: Collection[str] = (), fed: Collection[str] = ()) -> str:
        """Find an operation that reaches outside, in a run.

        Args:
            outputs: the names of the tensors or operations that the run computes.
            own_files: the tensors that are the names of the model's own files in this run, which may be read.
            fed: the tensors that get other values in this run.

        Returns:
            The type and name of the operation and what it reaches; empty if there is none.
        """
        tensors = Tensors(self._graph.nodes, own_files, fed)
        return self._first(self._graph.needed(outputs), tensors, set())

    def _first(self, nodes: Iterable[Any], tensors: Tensors, seen: set[tuple[str, tuple[bool, ...]]]) -> str:
        for node in nodes:
            if reach := _reach(node, tensors):
                return f"{node.op} {node.name} ({reach})"
            arguments: tuple[bool, ...] = ()
            if node.op in _CALLS or node.op in self._graph.functions:
                arguments = tuple(tensors.is_own_file(name) for name in node.input if not name.startswith("^"))
            for name in [node.op, *called_functions(node)]:
                for function in self._candidates(name):
                    if (function, arguments) not in seen:
                        seen.add((function, arguments))
                        if operation := self._in_function(function, arguments, seen):
                            return operation
        return ""

    def _in_function(self, name: str, arguments: tuple[bool, ...], seen: set[tuple[str, tuple[bool, ...]]]) -> str:
        function = self._graph.functions[name]
        parameters = function.signature.input_arg
        own: list[str] = []
        # A list takes several of the arguments. Functions that TensorFlow makes from Python have none.
        has_list = any(parameter.number_attr or parameter.type_list_attr for parameter in parameters)
        if not has_list and len(parameters) == len(arguments):
            own = [parameter.name for parameter, is_own in zip(parameters, arguments, strict=True) if is_own]
        return self._first(function.node_def, Tensors({node.name: node for node in function.node_def}, own), seen)

    def _candidates(self, name: str) -> list[str]:
        """Return the functions that a call of this one may run."""
        function = self._graph.functions.get(name)
        if function is None:
            return []
        interface = function.attr["api_implements"].s if "api_implements" in function.attr else b""
        return [name, *self._alternatives.get(interface, ())]


def _reach(node: Any, tensors: Tensors) -> str:
    """Return what an operation reaches outside of the model; empty if nothing."""
    if any(value.WhichOneof("value") == "placeholder" for value in node.attr.values()):
        return "what the caller of its function decides"
    if node.op in _READERS:
        place = _READERS[node.op]
        return "" if len(node.input) > place and tensors.is_own_file(node.input[place]) else kind_of(node.op)
    if node.op in _FILES_IF_NAMED:
        place = _FILES_IF_NAMED[node.op]
        return "" if len(node.input) > place and tensors.is_empty_text(node.input[place]) else kind_of(node.op)
    if node.op in _FILE_ATTRIBUTES:
        attribute, names_file = _FILE_ATTRIBUTES[node.op]
        return "files" if attribute in node.attr and names_file(node.attr[attribute].s) else ""
    return kind_of(node.op)
