"""Deployment targets, and the files for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benison.serving.deploy import compose, folder, kubernetes, schema_check, seldon
from benison.serving.deploy.tf_serving import Deployment


@dataclass(frozen=True)
class Target:
    """A target such as Kubernetes.

    Attributes:
        files: Returns the checked text of each file, by name, without headings.
        steps: Returns the next commands to type, in their order, for the folder of the files.
        warnings: Returns warnings about settings that do not work as expected.
    """

    files: Callable[[Deployment], Mapping[str, str]]
    steps: Callable[[Deployment, str], Sequence[str]]
    warnings: Callable[[Deployment], Sequence[str]] = Deployment.warnings


def _compose_files(deployment: Deployment) -> dict[str, str]:
    document = compose.document(deployment)
    schema_check.check_compose("compose.yaml", document)
    configs = {f"config/{name}": text for name, text in compose.config_files(deployment).items()}
    return {"compose.yaml": folder.yaml_text(document), **configs}


def _kubernetes_files(deployment: Deployment) -> dict[str, str]:
    documents = kubernetes.documents(deployment)
    for file, document in documents.items():
        schema_check.check_kubernetes(file, document)
    texts = {file: folder.yaml_text(document) for file, document in documents.items()}
    return {**texts, **kubernetes.copy_script(deployment)}


def _kubernetes_warnings(deployment: Deployment) -> list[str]:
    return [] if deployment.settings.kubernetes.fetch_image else deployment.warnings()


def _seldon_files(deployment: Deployment) -> dict[str, str]:
    documents = seldon.documents(deployment)
    for file, document in documents.items():
        check = schema_check.check_seldon if file == seldon.FILE else schema_check.check_kubernetes
        check(file, document)
    texts = {file: folder.yaml_text(document) for file, document in documents.items()}
    return {**texts, **kubernetes.copy_script(deployment)}


TARGETS: Mapping[str, Target] = {
    "compose": Target(_compose_files, lambda _, folder: [f"docker compose -f {folder}/compose.yaml up --wait"]),
    "k8s": Target(_kubernetes_files, kubernetes.steps, _kubernetes_warnings),
    "seldon": Target(_seldon_files, kubernetes.steps, seldon.warnings),
}
# Written for some settings only; a file left over from earlier settings would still be applied.
OPTIONAL_FILES = frozenset(
    [
        "config/models.config",
        "config/batching.config",
        "config/monitoring.config",
        "copy-models.sh",
        "pvc.yaml",
        "hpa.yaml",
        "pdb.yaml",
    ]
)
