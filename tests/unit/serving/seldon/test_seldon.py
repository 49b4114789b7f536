"""Ensembles as Seldon graphs: the graphs that are read, the bindings of their nodes, and the messages for mistakes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

from benison.serving import fan_out
from benison.serving.deploy import folder as deploy_folder
from benison.serving.deploy import schema_check, seldon
from benison.serving.deploy.settings import Serving
from benison.serving.deploy.targets import TARGETS
from benison.serving.deploy.tf_serving import Deployment
from benison.serving.errors import DataError, EnsembleError, UsageError, VersionError
from benison.serving.missing_values import MISSING_INTEGER
from benison.serving.models_config import Model, Specific
from benison.serving.seldon import (
    bindings,
    fusion,
    graph,
    imported_ensemble,
    interface,
    member_requests,
    seldon_deployment,
)
from benison.serving.seldon.bindings import SavedModel, Server
from benison.serving.seldon.graph import Graph
from benison.serving.seldon.imported_ensemble import ImportedEnsemble
from benison.serving.seldon.interface import Interface, Tensor
from benison.serving.versions import local
from benison.serving.versions.manifest import Manifest

EXAMPLE = Path(__file__).parents[4] / "configs/examples/seldon-ensemble.yaml"
IDENTITY = "preprocess=identity"
SERVERS = [IDENTITY, "model-a=grpc://a:8500/m", "model-b=grpc://[::1]:8500/m/3"]

Document = dict[str, Any]


@pytest.fixture
def document() -> Document:
    return dict(yaml.safe_load(EXAMPLE.read_text()))


def predictor(document: Document) -> Document:
    return dict(document["spec"]["predictors"][0])


def root(document: Document) -> Document:
    found: Document = document["spec"]["predictors"][0]["graph"]
    return found


def combiner(document: Document) -> Document:
    return dict(root(document)["children"][0])


def models(document: Document) -> list[Document]:
    found: list[Document] = root(document)["children"][0]["children"]
    return found


def containers(document: Document) -> list[Document]:
    found: list[Document] = document["spec"]["predictors"][0]["componentSpecs"][0]["spec"]["containers"]
    return found


def read(tmp_path: Path, document: Any, predictor: str | None = None) -> Graph:
    path = tmp_path / "seldon.yaml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return graph.from_predictor(seldon_deployment.read(path, predictor))


def unit(name: str = "m", **more: Any) -> seldon_deployment.Unit:
    return seldon_deployment.Unit.model_validate({"name": name, **more})


def write_saved_model(folder: Path, signatures: dict[str, tuple[dict[str, str], dict[str, str]]]) -> Path:
    """Write the part of a SavedModel that is read before it is loaded: inputs and outputs, dtype and sizes by name."""
    proto = saved_model_pb2.SavedModel()
    meta = proto.meta_graphs.add()
    meta.meta_info_def.tags.append("serve")
    for name, (inputs, outputs) in signatures.items():
        for infos, tensors in ((meta.signature_def[name].inputs, inputs), (meta.signature_def[name].outputs, outputs)):
            for tensor, dtype in tensors.items():
                kind, *sizes = dtype.split()
                infos[tensor].dtype = getattr(types_pb2, f"DT_{kind}")
                for size in (-1, *map(int, sizes)):
                    infos[tensor].tensor_shape.dim.add(size=size)
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(proto.SerializeToString())
    return folder


PLAIN = {"serving_default": ({"x": "FLOAT"}, {"y": "FLOAT"})}
BENISON = {
    "raw": ({"x": "FLOAT"}, {"probabilities": "FLOAT", "classes": "STRING"}),
    "serving_default": ({"examples": "STRING"}, {"probabilities": "FLOAT", "classes": "STRING"}),
}


# --- reading a SeldonDeployment ---------------------------------------------------------------------------------------


def test_the_example_is_a_transformer_a_combiner_and_two_models() -> None:
    found = graph.from_predictor(seldon_deployment.read(EXAMPLE))
    assert [node.name for node in found.before] == ["preprocess"]
    assert found.combiner == graph.GraphNode("combiner", "COMBINER", "example/combiner:1")
    assert [node.name for node in found.models] == ["model-a", "model-b"]
    assert found.unused == ()


@pytest.mark.parametrize("version", ["v1", "v1alpha2", "v1alpha3"])
def test_every_version_of_the_api_is_read(tmp_path: Path, document: Document, version: str) -> None:
    document["apiVersion"] = f"machinelearning.seldon.io/{version}"
    assert len(read(tmp_path, document).models) == 2


def test_a_model_is_added_by_a_container_and_a_child(tmp_path: Path, document: Document) -> None:
    containers(document).append({"name": "model-c", "image": "example/inference:1"})
    models(document).append({"name": "model-c", "type": "MODEL"})
    found = read(tmp_path, document)
    made = imported_ensemble.import_graph(found, [*SERVERS, "model-c=grpc://c:8500/m"])
    assert made.ensemble.members == ("model-a", "model-b", "model-c")


def test_other_documents_in_the_file_are_ignored(tmp_path: Path, document: Document) -> None:
    text = yaml.safe_dump_all([{"kind": "Service"}, None, document])
    assert len(read(tmp_path, text).models) == 2


def test_a_key_without_a_value_is_ignored(tmp_path: Path, document: Document) -> None:
    models(document)[0]["children"] = None
    assert len(read(tmp_path, document).models) == 2


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (unit(), "MODEL"),
        (unit(type="TRANSFORMER"), "TRANSFORMER"),
        (unit(type="UNKNOWN_TYPE", implementation="AVERAGE_COMBINER"), "COMBINER"),
        (unit(implementation="SIMPLE_MODEL"), "MODEL"),
        (unit(implementation="TENSORFLOW_SERVER", type="TRANSFORMER"), "MODEL"),
        (unit(implementation="RANDOM_ABTEST"), "ROUTER"),
        (unit(implementation="UNKNOWN_IMPLEMENTATION", type="COMBINER"), "COMBINER"),
        (unit(methods=["TRANSFORM_OUTPUT", "SEND_FEEDBACK"]), "OUTPUT_TRANSFORMER"),
        (unit(methods=["AGGREGATE"]), "COMBINER"),
    ],
)
def test_a_nodes_kind_follows_from_type_implementation_or_methods(given: seldon_deployment.Unit, kind: str) -> None:
    assert graph.node_kind(given) == kind


def test_a_prepackaged_model_and_the_average_combiner_need_no_container(tmp_path: Path) -> None:
    children = [
        {"name": "one", "implementation": "TENSORFLOW_SERVER", "modelUri": "gs://bucket/one"},
        {"name": "two", "implementation": "SIMPLE_MODEL"},
    ]
    tree = {"name": "mean", "implementation": "AVERAGE_COMBINER", "children": children}
    found = read(tmp_path, deployment({"name": "p", "graph": tree}))
    assert [node.name for node in found.models] == ["one", "two"]


def deployment(*predictors: Document) -> Document:
    return {
        "apiVersion": "machinelearning.seldon.io/v1",
        "kind": "SeldonDeployment",
        "metadata": {"name": "d"},
        "spec": {"predictors": list(predictors)},
    }


def test_one_of_several_predictors_is_chosen(tmp_path: Path, document: Document) -> None:
    other = {**copy.deepcopy(predictor(document)), "name": "canary"}
    document["spec"]["predictors"].append(other)
    with pytest.raises(UsageError, match=r"has 2 predictors \(ensemble-deployment, canary\); choose one with --pred"):
        read(tmp_path, document)
    with pytest.raises(UsageError, match="no predictor 'main'; it has ensemble-deployment, canary"):
        read(tmp_path, document, "main")
    assert read(tmp_path, document, "canary").name == "canary"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not YAML"),
        ("", "expected one document of kind SeldonDeployment, got nothing"),
        ("kind: Deployment", "expected one document of kind SeldonDeployment, got Deployment"),
        ("- 1", "got a document without a kind"),
        ("kind: SeldonDeployment\n---\nkind: SeldonDeployment", "got SeldonDeployment, SeldonDeployment"),
        (
            "{kind: SeldonDeployment, apiVersion: apps/v1}",
            "apiVersion: got 'apps/v1', expected one of machinelearning.seldon.io/v1,",
        ),
        ("{kind: SeldonDeployment, apiVersion: machinelearning.seldon.io/v1}", "spec: Field required"),
        (
            "{kind: SeldonDeployment, apiVersion: machinelearning.seldon.io/v1, spec: {predictors: []}}",
            "spec.predictors: Tuple should have at least 1 item",
        ),
    ],
)
def test_a_file_without_a_seldon_deployment_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=r"seldon\.yaml: ") as caught:
        read(tmp_path, text)
    assert message in str(caught.value)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml: No such file"):
        seldon_deployment.read(tmp_path / "none.yaml")


# --- the graph --------------------------------------------------------------------------------------------------------

Change = Callable[[Document], Any]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: root(d).update(typ="TRANSFORMER"), "graph.typ: unknown key; did you mean 'type'?"),
        (lambda d: root(d).update(type="TRANSFORMR"), "node preprocess: unknown type 'TRANSFORMR'"),
        (lambda d: root(d).update(type="TRANSFORMR"), "did you mean 'TRANSFORMER'?"),
        (
            lambda d: models(d)[0].update(implementation="TENSORFLOW_SERVR"),
            "node model-a: unknown implementation 'TENSORFLOW_SERVR'; did you mean 'TENSORFLOW_SERVER'?",
        ),
        (lambda d: containers(d).pop(), "node model-b: no container has this name in componentSpecs"),
        (lambda d: models(d)[1].update(name="model-a"), "node model-a: two nodes have this name"),
        (lambda d: models(d)[1].update(name="Model_B"), "node 'Model_B': expected a name of a-z, 0-9 and '-'"),
        (lambda d: root(d).update(type="ROUTER"), "node preprocess: routers are not supported yet"),
        (lambda d: models(d).clear(), "node combiner: a combiner without children"),
        (
            lambda d: models(d)[0].update(type="COMBINER"),
            "node model-a: a combiner under the combiner combiner; an ensemble has one",
        ),
        (lambda d: models(d)[0].update(type="TRANSFORMER"), "node model-a: a TRANSFORMER under the combiner combiner"),
        (
            lambda d: models(d)[0].update(children=[models(d).pop()]),
            r"node model-a: a model with children (model-b); chains of models are not supported",
        ),
        (lambda d: root(d).update(type="MODEL"), "node preprocess: a model with children (combiner)"),
        (lambda d: root(d).update(children=[]), "node preprocess: a TRANSFORMER with 0 children; expected one"),
    ],
)
def test_a_graph_that_is_no_ensemble_is_refused_by_node(
    tmp_path: Path, document: Document, change: Change, message: str
) -> None:
    change(document)
    with pytest.raises(UsageError) as caught:
        read(tmp_path, document)
    assert message in str(caught.value)


def test_every_mistake_in_a_graph_has_its_own_line(tmp_path: Path, document: Document) -> None:
    root(document)["type"] = "X"
    containers(document).pop()
    with pytest.raises(UsageError) as caught:
        read(tmp_path, document)
    assert len(str(caught.value).splitlines()) == 2


def test_unused_parts_are_listed(tmp_path: Path, document: Document) -> None:
    containers(document).append({"name": "model-c", "image": "example/inference:1"})
    lines = imported_ensemble.unused_parts(read(tmp_path, document))
    assert lines[0] == "container model-c: no node has this name, so it is not used"
    assert lines[1].startswith("combiner: the code in example/combiner:1 does not run")


# --- bindings ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def example() -> Graph:
    return graph.from_predictor(seldon_deployment.read(EXAMPLE))


def test_servers_are_bound_by_their_address(example: Graph) -> None:
    assert bindings.bind_nodes(example, SERVERS) == {
        "preprocess": None,
        "model-a": Server(target="a:8500", model="m"),
        "model-b": Server(target="[::1]:8500", model="m", version=3),
    }


def test_the_highest_version_folder_is_bound(tmp_path: Path, example: Graph) -> None:
    for version in ("9", "10"):
        write_saved_model(tmp_path / "m" / version, PLAIN)
    (tmp_path / "m" / "11").mkdir()
    found = bindings.bind_nodes(example, [*SERVERS[:2], f"model-b={tmp_path / 'm'}"])["model-b"]
    assert found == SavedModel(path=tmp_path / "m" / "10")


def test_a_pushed_version_that_is_damaged_is_neither_bound_nor_used(tmp_path: Path, example: Graph) -> None:
    base = tmp_path / "serving" / "m"
    version = local.publish(write_saved_model(tmp_path / "model", PLAIN), base, Manifest()).path
    options = [*SERVERS[:2], f"model-b={base}"]
    imported_ensemble.import_graph(example, options).save(tmp_path / "imported")
    ImportedEnsemble.load(tmp_path / "imported")
    (version / "manifest.json").unlink()
    damage = f"m/{version.name}: it is not as it was pushed, so it is not used:\n.*manifest.json: missing"
    for use in (
        lambda: imported_ensemble.import_graph(example, options),
        lambda: ImportedEnsemble.load(tmp_path / "imported"),
    ):
        with pytest.raises(VersionError, match=damage):
            use()


def test_a_model_uri_on_this_machine_is_a_binding_and_another_is_not(tmp_path: Path) -> None:
    path = write_saved_model(tmp_path / "m" / "1", PLAIN)
    here, away = (
        Graph("p", (), None, (graph.GraphNode("m", "MODEL", model_uri=uri),))
        for uri in (f"file://{tmp_path / 'm'}", "gs://bucket/m")
    )
    assert bindings.bind_nodes(here, []) == {"m": SavedModel(path=path)}
    with pytest.raises(
        UsageError, match=r"node m \(MODEL\) is not bound; its modelUri gs://bucket/m is not on this machine"
    ):
        bindings.bind_nodes(away, [])


def test_the_graphs_parameters_name_signature_and_output(tmp_path: Path, document: Document) -> None:
    models(document)[0]["parameters"] = [
        {"name": "signature_name", "type": "STRING", "value": "raw"},
        {"name": "model_output", "type": "STRING", "value": "y"},
    ]
    found = bindings.bind_nodes(read(tmp_path, document), SERVERS)["model-a"]
    assert found == Server(target="a:8500", model="m", signature="raw", output="y")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([IDENTITY, SERVERS[1]], "node model-b (MODEL) is not bound; give --bind model-b="),
        (SERVERS[1:], "node preprocess (TRANSFORMER) is not bound"),
        (SERVERS[1:], "or --bind preprocess=identity"),
        ([*SERVERS, "model-a"], "--bind model-a: expected NODE="),
        ([*SERVERS, "model-a=x"], "model-a is already bound to grpc://a:8500/m"),
        (
            [*SERVERS, "modela=x"],
            "no node 'modela'; the nodes are preprocess, model-a, model-b; did you mean 'model-a'?",
        ),
        ([*SERVERS, "combiner=x"], "combiner is the combiner, and its code does not run; use --combiner"),
        ([*SERVERS[:2], "model-b=identity"], "node model-b: a model cannot be identity"),
        ([*SERVERS[:2], "model-b=http://b:8500/m"], "got 'http://b:8500/m', expected grpc://HOST:PORT/MODEL"),
        ([*SERVERS[:2], "model-b=grpc://b/m"], "expected grpc://HOST:PORT/MODEL[/VERSION]"),
        ([*SERVERS[:2], "model-b=grpc://b:99999/m"], "Port out of range"),
        ([*SERVERS[:2], "model-b=grpc://b:8500/m/latest"], "expected grpc://HOST:PORT/MODEL[/VERSION]"),
        ([*SERVERS[:2], "model-b=/nowhere"], "node model-b: /nowhere: no SavedModel; expected a folder that contains"),
    ],
)
def test_a_wrong_or_missing_binding_is_refused_by_node(example: Graph, given: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        bindings.bind_nodes(example, given)
    assert message in str(caught.value)


def test_an_output_transformer_can_only_be_identity() -> None:
    found = Graph("p", (graph.GraphNode("post", "OUTPUT_TRANSFORMER"),), None, (graph.GraphNode("m", "MODEL"),))
    assert bindings.bind_nodes(found, ["post=identity", "m=grpc://m:1/m"])["post"] is None
    with pytest.raises(UsageError, match="an OUTPUT_TRANSFORMER can only be identity yet"):
        bindings.bind_nodes(found, ["post=grpc://p:1/p", "m=grpc://m:1/m"])


# --- the imported ensemble --------------------------------------------------------------------------------------------


def test_by_default_the_combiner_is_the_mean_and_all_members_must_answer(example: Graph) -> None:
    made = imported_ensemble.import_graph(example, SERVERS)
    assert (made.ensemble.combiner.kind, made.ensemble.quorum) == ("mean", 2)
    assert (made.ensemble.transformer, made.transformer) == ("identity", None)


def test_a_bound_transformer_is_part_of_the_spec(example: Graph) -> None:
    made = imported_ensemble.import_graph(example, ["preprocess=grpc://p:8500/p", *SERVERS[1:]])
    assert (made.ensemble.transformer, made.transformer) == ("preprocess", Server(target="p:8500", model="p"))


def test_another_combiner_is_given_by_its_kind_or_as_json(example: Graph) -> None:
    weights = {"model-a": 2.0, "model-b": 1.0}
    text = json.dumps({"kind": "weighted_mean", "weights": weights})
    assert imported_ensemble.import_graph(example, SERVERS, combiner="median").ensemble.combiner.kind == "median"
    assert imported_ensemble.import_graph(example, SERVERS, combiner=text).ensemble.combiner.weights == weights  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"combiner": "avg"}, "--combiner avg: .*'avg'.*'mean'"),
        ({"combiner": "weighted_mean"}, "--combiner weighted_mean: weighted_mean.weights: Field required"),
        ({"combiner": "{mean}"}, "--combiner {mean}: not JSON"),
        ({"combiner": '{"kind": "soft_vote", "weights": {"x": 1}}', "output": "probabilities"}, "names x; the members"),
        ({"combiner": "majority_vote"}, "majority_vote needs probabilities"),
        ({"quorum": 3}, "a quorum of 3 cannot be reached by 2 members"),
    ],
)
def test_a_combiner_that_does_not_fit_is_refused(example: Graph, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        imported_ensemble.import_graph(example, SERVERS, **options)


@pytest.mark.parametrize(
    ("signatures", "output"), [((BENISON, BENISON), "probabilities"), ((PLAIN, PLAIN), "prediction")]
)
def test_the_saved_models_decide_the_output_of_the_ensemble(
    tmp_path: Path, example: Graph, signatures: tuple[Any, Any], output: str
) -> None:
    one, two = (write_saved_model(tmp_path / str(n), each) for n, each in enumerate(signatures))
    made = imported_ensemble.import_graph(example, [IDENTITY, f"model-a={one}", f"model-b={two}"])
    assert made.ensemble.output == output


def test_saved_models_that_take_different_inputs_are_refused(tmp_path: Path, example: Graph) -> None:
    one, two = (write_saved_model(tmp_path / str(n), each) for n, each in enumerate((BENISON, PLAIN)))
    other = write_saved_model(tmp_path / "other", {"serving_default": ({"z": "INT64"}, {"y": "FLOAT"})})
    assert imported_ensemble.import_graph(example, [IDENTITY, f"model-a={one}", f"model-b={two}"])
    with pytest.raises(EnsembleError, match=r"takes x \(float32\); model-b \(serving_default\) takes z \(int64\)"):
        imported_ensemble.import_graph(example, [IDENTITY, f"model-a={one}", f"model-b={other}"])


def test_a_saved_ensemble_is_loaded_again_and_replaced_atomically(tmp_path: Path, example: Graph) -> None:
    made = imported_ensemble.import_graph(example, SERVERS)
    made.save(tmp_path / "new" / "folder")
    changed = imported_ensemble.import_graph(example, SERVERS, combiner="median")
    path = changed.save(tmp_path / "new" / "folder")
    assert ImportedEnsemble.load(path.parent) == changed
    assert [file.name for file in path.parent.iterdir()] == [imported_ensemble.FILE]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file; `benison ensemble import` writes it"),
        ("{", "not an imported ensemble"),
        ('{"name": "x", "nmae": 1}', "nmae: Extra inputs are not permitted"),
    ],
)
def test_a_folder_that_is_no_imported_ensemble_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / imported_ensemble.FILE).write_text(text)
    with pytest.raises(EnsembleError, match=message):
        ImportedEnsemble.load(tmp_path)


def test_bindings_and_members_must_be_the_same(example: Graph) -> None:
    made = imported_ensemble.import_graph(example, SERVERS).model_dump()
    del made["members"]["model-b"]
    with pytest.raises(ValueError, match="the members are model-a, model-b; bound: model-a"):
        ImportedEnsemble.model_validate(made)


def test_the_graph_is_shown_as_a_tree(example: Graph) -> None:
    assert imported_ensemble.tree_lines(example, imported_ensemble.import_graph(example, SERVERS)) == [
        "ensemble-deployment",
        "└─ preprocess  TRANSFORMER  identity",
        "   └─ combiner  COMBINER  mean",
        "      ├─ model-a  MODEL  grpc://a:8500/m",
        "      └─ model-b  MODEL  grpc://[::1]:8500/m/3",
    ]


# --- signatures, rows and the fused model -----------------------------------------------------------------------------


def test_raw_is_called_on_a_benison_model_and_serving_default_on_others(tmp_path: Path) -> None:
    benison, plain = (write_saved_model(tmp_path / str(n), each) for n, each in enumerate((BENISON, PLAIN)))
    assert interface.read_interface(benison).signature == "raw"
    assert interface.read_interface(plain).signature == "serving_default"
    assert interface.read_interface(benison, "serving_default").signature == "serving_default"
    with pytest.raises(
        EnsembleError, match=r"no signature raw; it has serving_default; name one in .*`signature_name`"
    ):
        interface.read_interface(plain, "raw")


@pytest.mark.parametrize(
    ("outputs", "wanted", "answer"),
    [
        ({"y": "float32"}, "", "y"),
        ({"y": "float32", "prediction": "float32"}, "", "prediction"),
        ({"classes": "string", "scores": "float64"}, "", "scores"),
        ({"a": "float32", "b": "float32"}, "b", "b"),
    ],
)
def test_the_answer_is_the_preferred_or_the_only_output(outputs: dict[str, str], wanted: str, answer: str) -> None:
    face = Interface("serving_default", {}, {name: Tensor(dtype, (-1,)) for name, dtype in outputs.items()})
    assert face.answer("m", wanted) == answer


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("", "which output of s is the answer; it has a, b; name one in .*`model_output`"),
        ("c", "s has no output 'c'"),
    ],
)
def test_an_unclear_output_is_refused(wanted: str, message: str) -> None:
    face = Interface("s", {}, {name: Tensor("float32", (-1,)) for name in "ab"})
    with pytest.raises(EnsembleError, match=message):
        face.answer("m", wanted)


INPUTS = {
    "text": Tensor("string", (-1,)),
    "number": Tensor("float32", (-1,)),
    "whole": Tensor("int64", (-1,)),
    "flag": Tensor("bool", (-1,)),
    "pair": Tensor("float32", (-1, 2)),
    "any": Tensor("float32", None),
}
ROW = {"text": "a", "number": 1, "whole": 2, "flag": True, "pair": [1, 2.5], "any": 3, "more": "ignored"}


def test_rows_become_an_array_for_each_input() -> None:
    gaps = {**ROW, "text": None, "number": None, "whole": None}
    made = member_requests.columns([ROW, gaps], INPUTS, {"whole": MISSING_INTEGER})
    assert {name: values.shape for name, values in made.items()} == {
        **dict.fromkeys(("text", "number", "whole", "flag", "any"), (2,)),
        "pair": (2, 2),
    }
    assert list(made["text"]) == ["a", ""]
    assert list(made["whole"]) == [2, MISSING_INTEGER]
    assert np.isnan(made["number"][1])
    assert made["number"].dtype == np.float32


def test_a_column_of_any_name_is_found_by_its_argument() -> None:
    made = member_requests.columns([{"sepal length (cm)": 1.0}], {"sepal_length__cm_": Tensor("float32", (-1,))})
    assert list(made) == ["sepal_length__cm_"]
    twins = {name: Tensor("int64", (-1,)) for name in ("Age", "age_2", "x_class")}
    made = member_requests.columns([{"Age": 1, "age": 2, "class": 3}], twins)
    assert {name: values.tolist() for name, values in made.items()} == {"Age": [1], "age_2": [2], "x_class": [3]}


def test_a_model_says_which_column_an_input_is() -> None:
    inputs = {name: Tensor("int64", (-1,)) for name in ("Age", "age_2")}
    names = {"Age": "Age", "age_2": "age"}
    made = member_requests.columns([{"age": 1}], inputs, {"Age": MISSING_INTEGER}, names)
    assert {name: values.tolist() for name, values in made.items()} == {"Age": [MISSING_INTEGER], "age_2": [1]}
    with pytest.raises(DataError, match=r"row 1, column 'age': got 1\.5, expected a whole number"):
        member_requests.columns([{"Age": 1, "age": 1.5}], inputs, {}, names)
    with pytest.raises(DataError, match="row 1: no column 'age'; it has Age"):
        member_requests.columns([{"Age": 1}], inputs, {}, names)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"number": "1"}, "row 2, column 'number': got 1, expected a number"),
        ({"whole": None}, "row 2, column 'whole': got None, expected a whole number"),
        ({"whole": 1.5}, "row 2, column 'whole': got 1.5, expected a whole number"),
        ({"text": 1}, "row 2, column 'text': got 1, expected text"),
        ({"flag": None}, "row 2, column 'flag': got None, expected true or false"),
        ({"pair": [1]}, r"row 2, column 'pair': got \[1\], expected a number in lists of sizes 2"),
        ({"number": [1]}, r"row 2, column 'number': got \[1\], expected a number"),
        ({"pair": [[1], [2, 3]]}, "row 2, column 'pair'"),
        ({"number": 1e39}, r"row 2, column 'number': got 1e\+39, expected a finite float32"),
        ({"whole": 2**70}, "row 2, column 'whole': got 1180591620717411303424, expected a whole number"),
        ({"any": [1]}, "column 'any': cannot be converted to an array of float32"),
    ],
)
def test_a_wrong_value_is_reported_with_its_row_and_column(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        member_requests.columns([ROW, {**ROW, **change}], INPUTS)


def test_an_output_of_class_names_is_known() -> None:
    assert Interface("s", {}, {"classes": Tensor("string", (-1, 2))}).classes == "classes"
    assert Interface("s", {}, {"classes": Tensor("string", (-1,))}).classes == ""
    assert Interface("s", {}, {"y": Tensor("float32", (-1, 2))}).classes == ""


def test_members_that_name_their_classes_in_another_order_are_not_combined() -> None:
    fan_out.check_same_classes({"a": ("no", "yes"), "b": ["no", "yes"]})
    with pytest.raises(EnsembleError, match="a: no, yes; b: yes, no"):
        fan_out.check_same_classes({"a": ("no", "yes"), "b": ("yes", "no")})


def test_a_missing_column_is_reported() -> None:
    with pytest.raises(DataError, match="row 1: no column 'number'; it has text"):
        member_requests.columns([{"text": "a"}], {"number": Tensor("float32", (-1,))})


def test_a_model_on_a_server_cannot_be_fused(tmp_path: Path, example: Graph) -> None:
    with pytest.raises(EnsembleError, match=r"models that are on a server: model-a \(grpc://a:8500/m\), model-b"):
        fusion.fuse(imported_ensemble.import_graph(example, SERVERS), tmp_path / "out")
    with pytest.raises(UsageError, match="already exists"):
        fusion.fuse(imported_ensemble.import_graph(example, SERVERS), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (("FLOAT 2", "FLOAT 3"), r"have different shapes .*: model-a \[-1, 2\], model-b \[-1, 3\]"),
        (("FLOAT", "FLOAT 3"), "have different shapes"),
        (("FLOAT 2 2", "FLOAT 2 2"), r"expected answers of shape \[batch\] or \[batch, n\], got model-a"),
    ],
)
def test_answers_that_cannot_be_combined_are_not_fused(
    tmp_path: Path, example: Graph, outputs: tuple[str, str], message: str
) -> None:
    one, two = (
        write_saved_model(tmp_path / str(n), {"serving_default": ({"x": "FLOAT"}, {"y": output})})
        for n, output in enumerate(outputs)
    )
    made = imported_ensemble.import_graph(example, [IDENTITY, f"model-a={one}", f"model-b={two}"])
    with pytest.raises(EnsembleError, match=message):
        fusion.fuse(made, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_transformer_must_return_the_models_inputs(tmp_path: Path, example: Graph) -> None:
    models = [write_saved_model(tmp_path / str(n), PLAIN) for n in range(2)]
    before = write_saved_model(tmp_path / "before", {"serving_default": ({"text": "STRING"}, {"z": "FLOAT"})})
    bound = [f"preprocess={before}", *(f"model-{name}={path}" for name, path in zip("ab", models, strict=True))]
    with pytest.raises(
        EnsembleError, match=r"preprocess: .* returns z \(float32\), but the members take x \(float32\)"
    ):
        fusion.fuse(imported_ensemble.import_graph(example, bound), tmp_path / "out")


# --- deploy -----------------------------------------------------------------------------------------------------------

CLAIM: dict[str, Any] = {"kubernetes": {"claim": "models"}}


def deployed(model: Model | None = None, **settings: Any) -> Deployment:
    return Deployment(model or Model("birds", "/srv/serving/birds"), Serving.model_validate(settings))


@pytest.mark.parametrize(
    ("settings", "uri"),
    [
        (CLAIM, "pvc://models/birds"),
        ({"kubernetes": {"storage": "1Gi"}}, "pvc://birds-serving/birds"),
        ({"base_path": "s3://bucket/models/"}, "s3://bucket/models/birds"),
    ],
)
def test_import_reads_the_files_of_deploy(tmp_path: Path, settings: dict[str, Any], uri: str) -> None:
    files = TARGETS["seldon"].files(deployed(**settings))
    assert ("pvc.yaml" in files) == ("storage" in settings.get("kubernetes", {}))
    deploy_folder.write(tmp_path / "out", files)
    found = graph.from_predictor(seldon_deployment.read(tmp_path / "out" / seldon.FILE))
    (node,) = found.models
    assert (node.name, node.kind, node.model_uri) == ("birds", "MODEL", uri)
    made = imported_ensemble.import_graph(found, ["birds=grpc://birds:8500/birds"])
    assert made.ensemble.members == ("birds",)


def test_a_pipelines_name_is_a_valid_node_name(tmp_path: Path) -> None:
    document = seldon.documents(deployed(Model("my_birds", "/srv"), **CLAIM))[seldon.FILE]
    assert len(read(tmp_path, document).models) == 1


def test_the_example_fits_the_schema(document: Document) -> None:
    schema_check.check_seldon("x.yaml", document)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: root(d).update(typ="MODEL"), "spec.predictors.0.graph: .*'typ' was unexpected"),
        (lambda d: root(d).update(type="MODELL"), "spec.predictors.0.graph.type: 'MODELL' is not one of"),
        (lambda d: containers(d)[0].update(imag="x"), "containers.0: .*'imag' was unexpected"),
        (lambda d: d.update(kind="Deployment"), "kind: 'SeldonDeployment' was expected"),
    ],
)
def test_a_key_that_seldon_refuses_is_reported_with_its_path(document: Document, change: Change, message: str) -> None:
    change(document)
    with pytest.raises(UsageError, match=f"x.yaml: .*{message}"):
        schema_check.check_seldon("x.yaml", document)


def test_a_cluster_needs_a_volume_or_an_object_store() -> None:
    with pytest.raises(UsageError, match="a cluster does not see /srv/serving/birds"):
        seldon.documents(deployed())


def test_versions_that_seldon_would_not_choose_come_with_a_warning() -> None:
    chosen = Model("birds", "/srv", Specific(frozenset([3])))
    assert "Seldon serves the highest" in TARGETS["seldon"].warnings(deployed(chosen, **CLAIM))[0]
    assert TARGETS["seldon"].warnings(deployed(base_path="s3://b/m")) == []
