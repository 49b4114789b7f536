"""Finds operations that reach outside of a model: they read or write files, use the network, or run other code.

This is a list of TensorFlow's operations and no sandbox. It lacks those of libraries that a user adds to TensorFlow.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from benison.serving.server.graphs.indexed import IndexedGraph, called_functions
from benison.serving.server.graphs.operation import names

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
# Operations that use a file if an attribute names one: the attribute, and how its other values begin.
_FILE_ATTRIBUTES: Mapping[str, tuple[str, Callable[[bytes], bool]]] = {
    "FixedUnigramCandidateSampler": ("vocab_file", bool),
    "PrintV2": ("output_stream", lambda stream: stream.startswith(b"file:")),
    "DecodeProtoV2": ("descriptor_source", lambda source: bool(source) and b"://" not in source[:8]),
    "EncodeProto": ("descriptor_source", lambda source: bool(source) and b"://" not in source[:8]),
}
_CALLS = frozenset(["PartitionedCall", "StatefulPartitionedCall"])  # their inputs are the arguments
_IsOwnFile = Callable[[str], bool]


def kind_of(operation_type: str) -> str:
    """Return what operations of this type reach, such as `files`; empty if they stay inside of the model."""
    return _KINDS.get(operation_type, "")


class Outside:
    """Finds operations that reach outside, in one graph."""

    def __init__(self, graph: IndexedGraph) -> None:
        """Look at nothing yet."""
        self._graph = graph
        self._alternatives: dict[bytes, list[str]] = defaultdict(list)  # TensorFlow may call one for another
        for name, function in graph.functions.items():
            if interface := function.attr["api_implements"].s if "api_implements" in function.attr else b"":
                self._alternatives[interface].append(name)

    def operation(self, outputs: Iterable[str], own_files: Collection[str] = ()) -> str:
        """Find an operation that reaches outside, in a run.

        Args:
            outputs: the names of the tensors or operations that the run computes.
            own_files: the operations that the run feeds with the names of the model's own files, which may be read.

        Returns:
            The type and name of the operation and what it reaches; empty if there is none.
        """
        seen: set[tuple[str, tuple[bool, ...]]] = set()
        own_files = {*own_files, *self._kept_in_variables(own_files)}
        return self._first(self._graph.needed(outputs), _own_files(self._graph.nodes, own_files), seen)

    def _kept_in_variables(self, own_files: Collection[str]) -> set[str]:
        """Return the operations that read names of own files from variables, where TensorFlow 2 keeps them.

        Nothing else may write such a variable.
        """
        is_own_file = _own_files(self._graph.nodes, own_files)
        handles = {name: node for name, node in self._graph.nodes.items() if node.op == "VarHandleOp"}
        readers: dict[str, list[str]] = defaultdict(list)
        written, unknown = set[str](), set[str]()
        for node in self._graph.nodes.values():
            for place, text in enumerate(node.input):
                handle = text.partition(":")[0]
                if handle not in handles:
                    continue
                if node.op == "ReadVariableOp":
                    readers[handle].append(node.name)
                elif node.op == "AssignVariableOp" and place == 0 and is_own_file(node.input[1]):
                    written.add(handle)
                elif node.op != "VarIsInitializedOp":
                    unknown.add(handle)
        in_functions = [node for function in self._graph.functions.values() for node in function.node_def]
        others = [node for node in in_functions if node.op == "VarHandleOp"]
        if any(not node.attr["shared_name"].s for node in others):
            return set()
        shared = Counter(_shared_name(node) for node in [*handles.values(), *others])
        own = {name for name in written - unknown if shared[_shared_name(handles[name])] == 1}
        return {reader for name in own for reader in readers[name]}

    def _first(self, nodes: Iterable[Any], is_own_file: _IsOwnFile, seen: set[tuple[str, tuple[bool, ...]]]) -> str:
        for node in nodes:
            if reach := _reach(node, is_own_file):
                return f"{node.op} {node.name} ({reach})"
            arguments: tuple[bool, ...] = ()
            if node.op in _CALLS or node.op in self._graph.functions:
                arguments = tuple(is_own_file(name) for name in node.input if not name.startswith("^"))
            for name in [node.op, *called_functions(node)]:
                for function in self._candidates(name):
                    if (function, arguments) not in seen:
                        seen.add((function, arguments))
                        if operation := self._in_function(function, arguments, seen):
                            return operation
        return ""

    def _in_function(self, name: str, arguments: tuple[bool, ...], seen: set[tuple[str, tuple[bool, ...]]]) -> str:
        function = self._graph.functions[name]
        own = [arg.name for arg, is_own in zip(function.signature.input_arg, arguments, strict=False) if is_own]
        return self._first(function.node_def, _own_files({node.name: node for node in function.node_def}, own), seen)

    def _candidates(self, name: str) -> list[str]:
        """Return the functions that a call of this one may run."""
        function = self._graph.functions.get(name)
        if function is None:
            return []
        interface = function.attr["api_implements"].s if "api_implements" in function.attr else b""
        return [name, *self._alternatives.get(interface, ())]


def _shared_name(handle: Any) -> bytes:
    return bytes(handle.attr["shared_name"].s) or str(handle.name).encode()


def _reach(node: Any, is_own_file: _IsOwnFile) -> str:
    """Return what an operation reaches outside of the model; empty if nothing."""
    if node.op in _READERS:
        place = _READERS[node.op]
        return "" if len(node.input) > place and is_own_file(node.input[place]) else kind_of(node.op)
    if node.op in _FILE_ATTRIBUTES:
        attribute, names_file = _FILE_ATTRIBUTES[node.op]
        return "files" if attribute in node.attr and names_file(node.attr[attribute].s) else ""
    return kind_of(node.op)


def _own_files(nodes: Mapping[str, Any], own: Collection[str]) -> _IsOwnFile:
    """Return a function that says whether a tensor is the name of one of the model's own files."""

    def is_own_file(tensor: str) -> bool:
        name, passed = tensor.partition(":")[0], set[str]()
        while name not in own:
            node = nodes.get(name)
            if node is None or node.op != "Identity" or not node.input or name in passed:
                return False
            passed.add(name)
            name = node.input[0].partition(":")[0]
        return True

    return is_own_file
