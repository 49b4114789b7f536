"""A version, or a member of it, as PMML: gradient-boosted trees over columns of numbers.

A tree is written from the numbers that it was trained to (`assets.extra/members`), so it is the same tree: a condition
compares a number of type float with its border, and NaN, which is a missing value in PMML, goes where it went in
training. Trees of several classes are one sum per class, whose softmax is the answer. Several members are averaged.

Source: PMML 4.4, Data Mining Group, elements TreeModel, MiningModel and RegressionModel.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benison.serving.ensemble import Ensemble
from benison.serving.errors import UsageError
from benison.serving.exports.proof import NotExportable, Proof
from benison.serving.versions.local import EXTRA, MEMBERS

if TYPE_CHECKING:
    from benison.serving.versions.local import Version

FILE = "model.pmml"
_NAMESPACE = "http://www.dmg.org/PMML-4_4"
_AVERAGES = ("mean", "weighted_mean", "soft_vote")
_SECONDS = 600
_EVALUATE = """
import json, sys
import pandas
from jpmml_evaluator import make_evaluator
request = json.load(sys.stdin)
evaluator = make_evaluator(request["file"]).verify()
rows = pandas.DataFrame(request["rows"], columns=request["columns"], dtype="float32")
answers = evaluator.evaluateAll(rows, error_col="error")
if "error" in answers and answers["error"].notna().any():
    sys.exit(str(answers["error"].dropna().iloc[0]))
json.dump(answers[request["outputs"]].astype("float64").values.tolist(), sys.stdout)
"""


@dataclass(frozen=True)
class Trees:
    """The trees of a member; see `benison.components.train.trees.symmetric` for the arrays.

    Attributes:
        arrays: the arrays by name.
        fields: the name of the column of each number.
    """

    arrays: Mapping[str, NDArray]
    fields: tuple[str, ...]

    @property
    def outputs(self) -> int:
        """The number of sums."""
        return len(self.arrays["bias"])


def write(version: Version, folder: Path, member: str | None = None, evaluator: str | None = None) -> str:
    """Write `model.pmml`; return a sentence about its proof by JPMML.

    Args:
        version: the version.
        folder: the target.
        member: the member to write; None for the ensemble.
        evaluator: Python of an environment with jpmml-evaluator; None for this one.

    Raises:
        NotExportable: a member or the combiner has no form in PMML, or JPMML gives another answer.
        UsageError: there is no such member, or no evaluator.
    """
    spec = Ensemble.load(version.path / EXTRA)
    if member is not None and member not in spec.members:
        raise UsageError(f"--member {member}: the members are {', '.join(spec.members)}")
    members = [member] if member else list(spec.members)
    weights = dict.fromkeys(members, 1.0) if member else _weights(spec)
    trees = {name: _trees(version, name) for name in members}
    file = folder / FILE
    document = ET.ElementTree(_document(version, trees, weights))
    ET.indent(document, " ")
    document.write(file, encoding="utf-8", xml_declaration=True)
    proof = Proof.of(version)
    if member:
        proof = Proof(proof.inputs, _answers_of(version, member, proof.inputs, spec.output))
    return proof.check(_evaluated(version, file, proof, evaluator), f"{FILE} in JPMML")


def _weights(spec: Ensemble) -> dict[str, float]:
    """Return the weight of each member in the ensemble's average.

    Raises:
        NotExportable: it is no average.
    """
    if len(spec.members) > 1 and spec.combiner.kind not in _AVERAGES:
        raise NotExportable(
            f"the combiner {spec.combiner.kind} has no form in PMML here, only {', '.join(_AVERAGES)}; export the "
            f"members one by one: --member {spec.members[0]}"
        )
    if spec.calibration or (len(spec.members) == 1 and spec.combiner.kind not in _AVERAGES):
        part = "temperature scaling" if spec.calibration else f"the combiner {spec.combiner.kind}"
        raise NotExportable(
            f"{part} has no form in PMML here; export the members without it: --member {spec.members[0]}"
        )
    weights = dict(getattr(spec.combiner, "weights", {}))
    if not any(weights.get(name) for name in spec.members):
        return dict.fromkeys(spec.members, 1.0)
    return {name: float(weights.get(name, 0.0)) for name in spec.members}


def _trees(version: Version, name: str) -> Trees:
    """Read the trees of a member.

    Raises:
        NotExportable: it has no trees, or they read something else than columns of float numbers.
    """
    file = version.path / MEMBERS / f"{name}.npz"
    if not file.is_file():
        raise NotExportable(
            f"member {name}: only members of kind trees, fitted by CatBoost, have a form in PMML here, and versions of "
            "an older release have none"
        )
    with np.load(file) as loaded:
        arrays = {key: loaded[key] for key in loaded.files}
    numbers = [str(column) for column in arrays["numbers"]]
    columns = {entry.column: entry.type for entry in version.manifest.inputs.values()}
    used = sorted(set(arrays["number_columns"].tolist()))
    others = sorted(
        {str(arrays["category_names"][column]) for column in arrays["category_columns"].tolist()}
        | {str(arrays["other_numbers"][column - len(numbers)]) for column in used if column >= len(numbers)}
    )
    if others:
        raise NotExportable(f"member {name}: reads {', '.join(others)} as categories, which have no form in PMML here")
    # Benison names a number after its column, and what it computes of columns of other types in the same way.
    wrong = [numbers[n] for n in used if columns.get(numbers[n]) != "float32" or numbers.count(numbers[n]) > 1]
    if wrong:
        raise NotExportable(
            f"member {name}: reads {', '.join(wrong)}, which is not a column of float numbers as it is: only these "
            "have a form in PMML here"
        )
    return Trees(arrays, tuple(numbers))


def _document(version: Version, trees: Mapping[str, Trees], weights: Mapping[str, float]) -> ET.Element:
    manifest = version.manifest
    root = ET.Element("PMML", {"xmlns": _NAMESPACE, "version": "4.4"})
    header = ET.SubElement(root, "Header", {"description": f"{manifest.name} {version.number}"})
    ET.SubElement(header, "Application", {"name": "Benison"})
    fields = sorted({of.fields[n] for of in trees.values() for n in of.arrays["number_columns"].tolist()})
    dictionary = ET.SubElement(root, "DataDictionary")
    for name in fields:
        ET.SubElement(dictionary, "DataField", {"name": name, "optype": "continuous", "dataType": "float"})
    if manifest.classes:
        label = ET.SubElement(
            dictionary, "DataField", {"name": manifest.label, "optype": "categorical", "dataType": "string"}
        )
        for name in manifest.classes:
            ET.SubElement(label, "Value", {"value": name})
    else:
        ET.SubElement(dictionary, "DataField", {"name": manifest.label, "optype": "continuous", "dataType": "double"})
    if manifest.label in fields:
        raise NotExportable(f"the column {manifest.label} is the label and an input")
    writer = _Writer(manifest.label, tuple(manifest.classes), fields)
    if len(trees) == 1:
        model = writer.member(root, next(iter(trees.values())))
    else:
        model = writer.mining(root, "weightedAverage", writer.function)
        segmentation = model.find("Segmentation")
        assert segmentation is not None
        for name, of in trees.items():
            segment = ET.SubElement(segmentation, "Segment", {"id": name, "weight": repr(weights[name])})
            ET.SubElement(segment, "True")
            writer.member(segment, of)
    if manifest.classes:
        output = ET.Element("Output")
        for name in manifest.classes:
            ET.SubElement(
                output,
                "OutputField",
                {
                    "name": _probability(name),
                    "optype": "continuous",
                    "dataType": "double",
                    "feature": "probability",
                    "value": name,
                },
            )
        model.insert(1, output)
    return root


class _Writer:
    def __init__(self, label: str, classes: tuple[str, ...], fields: list[str]) -> None:
        self._label, self._classes, self._fields = label, classes, fields
        self.function = "classification" if classes else "regression"

    def mining(self, parent: ET.Element, method: str, function: str, label: bool = True) -> ET.Element:
        """Add a MiningModel with an empty segmentation."""
        model = ET.SubElement(parent, "MiningModel", {"functionName": function})
        self._schema(model, self._fields, label)
        ET.SubElement(model, "Segmentation", {"multipleModelMethod": method})
        return model

    def member(self, parent: ET.Element, trees: Trees) -> ET.Element:
        """Add the model of a member: one sum of trees per output, and the probabilities of the sums."""
        if not self._classes:
            return self._sum(parent, trees, 0, None)
        chain = self.mining(parent, "modelChain", "classification")
        segments = chain.find("Segmentation")
        assert segments is not None
        names = [f"sum_{number}" for number in range(trees.outputs)]
        for number, name in enumerate(names):
            segment = ET.SubElement(segments, "Segment", {"id": f"{number + 1}"})
            ET.SubElement(segment, "True")
            self._sum(segment, trees, number, name)
        segment = ET.SubElement(segments, "Segment", {"id": f"{len(names) + 1}"})
        ET.SubElement(segment, "True")
        self._probabilities(segment, names)
        return chain

    def _schema(self, model: ET.Element, fields: list[str], label: bool) -> None:
        schema = ET.SubElement(model, "MiningSchema")
        if label:
            ET.SubElement(schema, "MiningField", {"name": self._label, "usageType": "target"})
        for name in fields:
            # A number of any size is valid, and so is none.
            ET.SubElement(schema, "MiningField", {"name": name})

    def _sum(self, parent: ET.Element, trees: Trees, output: int, name: str | None) -> ET.Element:
        """Add scale * the sum of the trees' leaves + bias, as a field of this name for the next segment."""
        arrays = trees.arrays
        model = self.mining(parent, "sum", "regression", label=name is None)
        scale, bias = float(arrays["scale"][output]), float(arrays["bias"][output])
        schema = model.find("MiningSchema")
        assert schema is not None
        after = list(model).index(schema) + 1
        if name is not None:
            outputs = ET.Element("Output")
            ET.SubElement(
                outputs,
                "OutputField",
                {"name": name, "optype": "continuous", "dataType": "double", "feature": "predictedValue"},
            )
            model.insert(after, outputs)
            after += 1
        targets = ET.Element("Targets")
        field = {"field": self._label} if name is None else {}
        ET.SubElement(targets, "Target", {**field, "rescaleFactor": repr(scale), "rescaleConstant": repr(bias)})
        model.insert(after, targets)
        segmentation = model.find("Segmentation")
        assert segmentation is not None
        count = len(arrays["picks"])
        for number in range(max(count, 1)):
            segment = ET.SubElement(segmentation, "Segment", {"id": f"{number + 1}"})
            ET.SubElement(segment, "True")
            tree = ET.SubElement(
                segment,
                "TreeModel",
                {
                    "functionName": "regression",
                    "missingValueStrategy": "defaultChild",
                    "splitCharacteristic": "binarySplit",
                    "noTrueChildStrategy": "returnLastPrediction",
                },
            )
            self._schema(tree, self._fields, False)
            if count:
                _Tree(trees, number, output).add(tree, len(arrays["picks"][number]) - 1, 0, {}, None)
            else:
                root = ET.SubElement(tree, "Node", {"id": "1", "score": "0.0"})
                ET.SubElement(root, "True")
        return model

    def _probabilities(self, parent: ET.Element, names: list[str]) -> None:
        is_binary = len(names) == 1
        model = ET.SubElement(
            parent,
            "RegressionModel",
            {"functionName": "classification", "normalizationMethod": "logit" if is_binary else "softmax"},
        )
        self._schema(model, names, True)
        # Of two classes, the first table's score gives the probability of its class, and the other class gets the rest.
        values = self._classes[::-1] if is_binary else self._classes
        fields = [*names, None] if is_binary else names
        for value, name in zip(values, fields, strict=True):
            table = ET.SubElement(model, "RegressionTable", {"intercept": "0.0", "targetCategory": value})
            if name is not None:
                ET.SubElement(table, "NumericPredictor", {"name": name, "coefficient": "1.0"})


class _Tree:
    """One symmetric tree as nodes of two children; a condition that those above have decided gets no node."""

    def __init__(self, trees: Trees, number: int, output: int) -> None:
        self._arrays, self._fields = trees.arrays, trees.fields
        self._picks = trees.arrays["picks"][number]
        self._leaves = trees.arrays["leaves"][number, :, output].astype(np.float32)
        self._count = 0

    def add(
        self,
        parent: ET.Element,
        bit: int,
        leaf: int,
        known: Mapping[int, tuple[float, float]],
        predicate: tuple[str, str, float] | None,
    ) -> str:
        """Add the node below which the bits from `bit` on are open; return its id.

        Args:
            parent: the element to add to.
            bit: the next bit of the leaf's number.
            leaf: the bits that are decided.
            known: for each column the range that the conditions above leave: greater than, up to.
            predicate: the field, operator and border of the node; None: always true.
        """
        while bit >= 0 and (decided := self._decided(bit, known)) is not None:
            leaf |= decided << bit
            bit -= 1
        self._count += 1
        own = str(self._count)
        node = ET.SubElement(parent, "Node", {"id": own})
        if predicate is None:
            ET.SubElement(node, "True")
        else:
            field, operator, border = predicate
            ET.SubElement(
                node, "SimplePredicate", {"field": field, "operator": operator, "value": str(np.float32(border))}
            )
        if bit < 0:
            node.set("score", repr(float(self._leaves[leaf])))
            return own
        condition = int(self._picks[bit])
        column, border = int(self._arrays["number_columns"][condition]), float(self._arrays["borders"][condition])
        field = self._fields[column]
        low, high = known.get(column, (-math.inf, math.inf))
        greater = self.add(
            node, bit - 1, leaf | 1 << bit, {**known, column: (border, high)}, (field, "greaterThan", border)
        )
        other = self.add(node, bit - 1, leaf, {**known, column: (low, border)}, (field, "lessOrEqual", border))
        node.set("defaultChild", greater if self._arrays["nan_is_true"][condition] else other)
        return own

    def _decided(self, bit: int, known: Mapping[int, tuple[float, float]]) -> int | None:
        """Return the bit if it needs no condition of its own.

        NaN is on the same side of all borders of a column, so it agrees with the conditions above.
        """
        condition = int(self._picks[bit])
        if condition >= len(self._arrays["borders"]):  # the one that is never true, as there are no categories
            return 0
        column, border = int(self._arrays["number_columns"][condition]), float(self._arrays["borders"][condition])
        low, high = known.get(column, (-math.inf, math.inf))
        if low >= border:
            return 1
        return 0 if high <= border else None


def _probability(name: str) -> str:
    return f"probability({name})"


def _answers_of(version: Version, member: str, inputs: Mapping[str, NDArray], output: str) -> NDArray:
    """Return the answers of a member [rows, n] by the signature `members`."""
    import tensorflow as tf

    function = tf.saved_model.load(str(version.path)).signatures["members"]
    return np.asarray(function(**{name: tf.constant(values) for name, values in inputs.items()})[member])


def _evaluated(version: Version, file: Path, proof: Proof, evaluator: str | None) -> NDArray:
    """Return the answers of JPMML to the rows of a proof [rows, n].

    Raises:
        UsageError: there is no evaluator.
        NotExportable: JPMML refuses the file.
    """
    python = evaluator or sys.executable
    how = (
        "PMML is proven by JPMML, which needs Java and the package jpmml-evaluator: make an environment (uv venv pmml; "
        "uv pip install --python pmml/bin/python jpmml-evaluator jpype1 pandas) and add --evaluator pmml/bin/python"
    )
    program = shutil.which(python)
    if program is None:
        raise UsageError(f"--evaluator {python}: no such program; {how}")
    columns = {name: entry.column for name, entry in version.manifest.inputs.items() if entry.type == "float32"}
    outputs = [_probability(name) for name in version.manifest.classes] or [version.manifest.label]
    values = np.stack([proof.inputs[name] for name in columns], axis=1)
    request = {
        "file": str(file),
        "columns": list(columns.values()),
        "rows": [[None if math.isnan(cell) else cell for cell in row] for row in values.tolist()],
        "outputs": outputs,
    }
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [str(Path(program).absolute()), "-c", _EVALUATE],
            input=json.dumps(request, allow_nan=True),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    if "No module named" in done.stderr or "JVMNotFound" in done.stderr:
        raise UsageError(f"{done.stderr.strip().splitlines()[-1]}; {how}")
    if done.returncode:
        raise NotExportable(f"JPMML refuses {FILE}: {done.stderr.strip().splitlines()[-1]}; nothing was written")
    answers: Any = json.loads(done.stdout.splitlines()[-1])
    return np.array(answers, np.float64).reshape(-1, len(outputs))
