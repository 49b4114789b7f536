"""A pushed model as a SeldonDeployment of Seldon Core v1: one node, Seldon's TensorFlow Serving.

When the pod starts, Seldon copies the folder of versions into it and serves the highest version.
"""

from __future__ import annotations

from typing import Any

from benison.serving.deploy import kubernetes
from benison.serving.deploy.tf_serving import Deployment
from benison.serving.models_config import Latest

FILE = "seldondeployment.yaml"
API_VERSION = "machinelearning.seldon.io/v1"
_PREDICTOR = "default"


def documents(deployment: Deployment) -> dict[str, dict[str, Any]]:
    """Return the documents to apply, by file name.

    Raises:
        UsageError: Neither a volume nor an object store contains the versions.
    """
    kubernetes.check_storage(deployment)
    settings = deployment.settings.kubernetes
    metadata: dict[str, Any] = {
        "name": kubernetes.resource_name(deployment.name),
        "labels": {"app.kubernetes.io/managed-by": "benison"},
    }
    if settings.namespace:
        metadata["namespace"] = settings.namespace
    spec = {"protocol": "tensorflow", "predictors": [_predictor(deployment)]}
    documents = {FILE: {"apiVersion": API_VERSION, "kind": "SeldonDeployment", "metadata": metadata, "spec": spec}}
    if settings.storage:
        documents["pvc.yaml"] = kubernetes.documents(deployment)["pvc.yaml"]
    return documents


def warnings(deployment: Deployment) -> list[str]:
    """Warn if Seldon may serve another version than models.config names."""
    if isinstance(deployment.model.policy, Latest):
        return []
    return [
        f"models.config names the versions of {deployment.name} to serve, but Seldon serves the highest version in the "
        "folder; if that is a different one, give a base path that does not contain it"
    ]


def unit_name(name: str) -> str:
    """Return the node's name for a pipeline, which is the model's name in requests."""
    return kubernetes.resource_name(name).removesuffix("-serving")


def _predictor(deployment: Deployment) -> dict[str, Any]:
    settings = deployment.settings.kubernetes
    graph: dict[str, Any] = {
        "name": unit_name(deployment.name),
        "implementation": "TENSORFLOW_SERVER",
        "modelUri": _model_uri(deployment),
        "children": [],
    }
    if settings.secret:
        graph["envSecretRefName"] = settings.secret
    if settings.service_account:
        graph["serviceAccountName"] = settings.service_account
    # The autoscaler sets the number; a number in the file would reset it at each apply.
    replicas = {} if settings.autoscale else {"replicas": settings.replicas}
    return {"name": _PREDICTOR, **replicas, "graph": graph, "componentSpecs": [_pod(deployment)]}


def _model_uri(deployment: Deployment) -> str:
    """Return the folder that contains the versions, where TF Serving looks for numbers."""
    if deployment.settings.object_store:
        return deployment.base_path
    claim = deployment.settings.kubernetes.claim or kubernetes.resource_name(deployment.name)
    return f"pvc://{claim}/{deployment.name}"


def _pod(deployment: Deployment) -> dict[str, Any]:
    settings = deployment.settings
    container: dict[str, Any] = {
        "name": unit_name(deployment.name),
        "image": settings.image,
        "resources": kubernetes.resources(deployment),
    }
    if settings.environment:
        container["env"] = kubernetes.environment(deployment)
    pod: dict[str, Any] = {"spec": {"containers": [container]}}
    if settings.kubernetes.autoscale:
        scale = settings.kubernetes.autoscale
        target = {"type": "Utilization", "averageUtilization": scale.cpu_percent}
        pod["hpaSpec"] = {
            "minReplicas": scale.min,
            "maxReplicas": scale.max,
            "metricsv2": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        }
    if settings.kubernetes.min_available:
        pod["pdbSpec"] = {"minAvailable": settings.kubernetes.min_available}
    return pod
