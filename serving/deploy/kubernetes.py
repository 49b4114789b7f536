"""TensorFlow Serving on Kubernetes: one document per file."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from typing import Any

from benison.serving.deploy import volume
from benison.serving.deploy.settings import Autoscale
from benison.serving.deploy.tf_serving import (
    COMMAND,
    CONFIG_FOLDER,
    GRPC_PORT,
    METRICS_PATH,
    MODELS_FOLDER,
    REST_PORT,
    Deployment,
    flags,
    models_file,
    read_at_start,
)
from benison.serving.errors import UsageError

_MANAGED = "app.kubernetes.io/managed-by"
_NO_ROOT = {
    "runAsNonRoot": True,
    "runAsUser": volume.USER,
    "runAsGroup": volume.USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_NO_RIGHTS = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
_GRACE_SECONDS = 30
_DRAIN_SECONDS = 5  # in this time the proxies stop sending requests to the pod


def documents(deployment: Deployment) -> dict[str, dict[str, Any]]:
    """Return the documents to apply, by file name.

    Raises:
        UsageError: Neither a volume nor an object store contains the versions.
    """
    check_storage(deployment)
    settings = deployment.settings.kubernetes
    deployment = replace(deployment, fetches=bool(settings.fetch_image))
    files = {**models_file(deployment), **read_at_start(deployment.settings)}
    if uses_claim(deployment):
        files |= volume.wanted_file(deployment)
    documents: dict[str, dict[str, Any]] = {
        "configmap.yaml": _document(deployment, "v1", "ConfigMap", data=files),
        "deployment.yaml": _document(deployment, "apps/v1", "Deployment", spec=_deployment_spec(deployment)),
        "service.yaml": _document(deployment, "v1", "Service", spec=_service_spec(deployment)),
    }
    if settings.storage:
        documents["pvc.yaml"] = _document(deployment, "v1", "PersistentVolumeClaim", spec=_claim_spec(deployment))
    if settings.autoscale:
        spec = _autoscaler_spec(deployment, settings.autoscale)
        documents["hpa.yaml"] = _document(deployment, "autoscaling/v2", "HorizontalPodAutoscaler", spec=spec)
    if settings.min_available:
        spec = {"minAvailable": settings.min_available, "selector": {"matchLabels": _selector(deployment)}}
        documents["pdb.yaml"] = _document(deployment, "policy/v1", "PodDisruptionBudget", spec=spec)
    return documents


def check_storage(deployment: Deployment) -> None:
    """Check that a cluster can read the versions.

    Raises:
        UsageError: Neither a volume nor an object store contains them.
    """
    settings = deployment.settings.kubernetes
    if settings.fetch_image and not deployment.settings.object_store:
        raise UsageError(
            f"{deployment.name}: serving.kubernetes.fetch_image fetches the versions from an object store, but there "
            "is none; expected serving.store or serving.base_path as s3://… or gs://…, in the YAML or by --set"
        )
    if not (deployment.settings.object_store or settings.claim or settings.storage):
        raise UsageError(
            f"{deployment.name}: a cluster does not see {deployment.model.base_path}; expected one of "
            "serving.kubernetes.claim (an existing PersistentVolumeClaim), serving.kubernetes.storage (the size of a "
            "new one), serving.store and serving.base_path (s3://… or gs://…), in the YAML or by --set"
        )


def uses_claim(deployment: Deployment) -> bool:
    """Return True if the server reads the versions from a claim."""
    return not deployment.settings.object_store


def claim_name(deployment: Deployment) -> str:
    """Return the name of the claim that holds the versions."""
    return deployment.settings.kubernetes.claim or resource_name(deployment.name)


def copy_script(deployment: Deployment) -> dict[str, str]:
    """Return the script that copies the versions to the claim, by file name; nothing if there is no claim."""
    if not uses_claim(deployment):
        return {}
    return {volume.SCRIPT: volume.copy_script(deployment, claim_name(deployment), _copy_pod(deployment))}


def steps(deployment: Deployment, folder: str) -> list[str]:
    """Return the commands to type, in their order.

    The claim must have a version before the server's config names it: TensorFlow Serving unloads the version that it
    serves even if the next one is not there.
    """
    copy = f"bash {folder}/{volume.SCRIPT}"
    if deployment.settings.kubernetes.storage and uses_claim(deployment):
        return [f"kubectl apply -f {folder}/pvc.yaml", copy, f"kubectl apply -f {folder}"]
    return [*([copy] if uses_claim(deployment) else []), f"kubectl apply -f {folder}"]


def resource_name(name: str) -> str:
    """Return a pipeline's name as a Kubernetes name: no `_`, at most 63 characters."""
    plain = re.sub("[^a-z0-9-]", "-", name).strip("-")
    # The hash keeps shortened names different.
    short = plain if len(plain) <= 50 else f"{plain[:41].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return f"{short}-serving"


def _document(deployment: Deployment, version: str, kind: str, **content: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": resource_name(deployment.name), "labels": _labels(deployment)}
    if deployment.settings.kubernetes.namespace:
        metadata["namespace"] = deployment.settings.kubernetes.namespace
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **content}


def _selector(deployment: Deployment) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "tensorflow-serving",
        "app.kubernetes.io/instance": resource_name(deployment.name),
    }


def _labels(deployment: Deployment) -> dict[str, str]:
    return {**_selector(deployment), _MANAGED: "benison"}


def _deployment_spec(deployment: Deployment) -> dict[str, Any]:
    settings = deployment.settings.kubernetes
    # The autoscaler sets the number; a number in the file would reset it at each apply.
    replicas = {} if settings.autoscale else {"replicas": settings.replicas}
    return {
        **replicas,
        "selector": {"matchLabels": _selector(deployment)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {
            "metadata": {"labels": _labels(deployment), "annotations": _annotations(deployment)},
            "spec": _pod_spec(deployment),
        },
    }


def _annotations(deployment: Deployment) -> dict[str, str]:
    content = json.dumps(read_at_start(deployment.settings), sort_keys=True)
    # A change of these files restarts the pods; models.config is polled.
    annotations = {"benison/read-at-start": hashlib.sha256(content.encode()).hexdigest()[:16]}
    if deployment.fetches:
        # Only a new pod fetches, so a promotion replaces the pods, one after the other.
        annotations["benison/versions"] = " ".join(deployment.wanted_versions)
    if deployment.settings.monitoring:
        annotations |= {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(REST_PORT),
            "prometheus.io/path": METRICS_PATH,
        }
    return annotations


def _pod_spec(deployment: Deployment) -> dict[str, Any]:
    settings = deployment.settings.kubernetes
    spec: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # no environment variables for the services of the namespace
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "securityContext": _NO_ROOT,
        **_init_containers(deployment),
        "containers": [_container(deployment)],
        "volumes": _volumes(deployment),
    }
    if settings.service_account:
        spec["serviceAccountName"] = settings.service_account
    return spec


def _init_containers(deployment: Deployment) -> dict[str, Any]:
    """Return the container that runs before the server: it fetches the versions, or waits until the claim has them."""
    if deployment.reads_store:
        return {}
    settings = deployment.settings.kubernetes
    container: dict[str, Any] = {
        "name": "fetch-models" if deployment.fetches else "wait-for-models",
        "image": settings.fetch_image if deployment.fetches else deployment.settings.image,
        "command": volume.fetch_command(deployment) if deployment.fetches else volume.wait_command(),
        "resources": resources(deployment),  # which costs nothing, because the server starts after it
        "securityContext": _NO_RIGHTS,
        "volumeMounts": _mounts(deployment),
    }
    if deployment.fetches:
        container["volumeMounts"] = [
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "models", "mountPath": volume.FETCH_FOLDER},
        ]
        container |= _variables(deployment)
    return {"initContainers": [container]}


def _variables(deployment: Deployment) -> dict[str, Any]:
    """Return the environment variables of a container, with the credentials."""
    variables: dict[str, Any] = {}
    if deployment.settings.environment:
        variables["env"] = environment(deployment)
    if deployment.settings.kubernetes.secret:
        variables["envFrom"] = [{"secretRef": {"name": deployment.settings.kubernetes.secret}}]
    return variables


def _copy_pod(deployment: Deployment) -> dict[str, Any]:
    """Return the pod through which `copy-models.sh` copies; it does nothing but mount the claim."""
    settings = deployment.settings
    # If only one node at a time can mount the claim, it must be the one of the server.
    near = {
        "weight": 100,
        "podAffinityTerm": {
            "labelSelector": {"matchLabels": _selector(deployment)},
            "topologyKey": "kubernetes.io/hostname",
        },
    }
    pod = _document(
        deployment,
        "v1",
        "Pod",
        spec={
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [near]}},
            "securityContext": {**_NO_ROOT, "fsGroup": volume.USER, "fsGroupChangePolicy": "OnRootMismatch"},
            "containers": [
                {
                    "name": "copy",
                    "image": settings.image,
                    "command": ["sleep", "86400"],
                    "resources": {
                        "requests": {"cpu": "100m", "memory": "128Mi"},
                        "limits": {"memory": "512Mi"},
                    },
                    "securityContext": _NO_RIGHTS,
                    "volumeMounts": [{"name": "models", "mountPath": MODELS_FOLDER}],
                }
            ],
            "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": claim_name(deployment)}}],
        },
    )
    pod["metadata"] = {
        **pod["metadata"],
        "name": f"{resource_name(deployment.name)}-copy",
        "labels": {_MANAGED: "benison"},
    }
    return pod


def _container(deployment: Deployment) -> dict[str, Any]:
    settings = deployment.settings
    return {
        "name": "tensorflow-serving",
        "image": settings.image,
        "command": [COMMAND],
        "args": flags(settings),
        "ports": [{"name": "grpc", "containerPort": GRPC_PORT}, {"name": "rest", "containerPort": REST_PORT}],
        **_probes(deployment),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(_DRAIN_SECONDS)]}}},
        "resources": resources(deployment),
        "securityContext": _NO_RIGHTS,
        **_variables(deployment),
        "volumeMounts": _mounts(deployment),
    }


def _probes(deployment: Deployment) -> dict[str, Any]:
    """Return the probes: a server is ready while the wanted version is AVAILABLE.

    It is alive as long as its port answers, so that a busy server is not restarted.
    """
    ready = {"httpGet": {"path": deployment.ready_path, "port": "rest"}}
    alive = {"grpc": {"port": GRPC_PORT}} if deployment.settings.grpc_health else {"tcpSocket": {"port": "grpc"}}
    return {
        "startupProbe": {**ready, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 120},
        "readinessProbe": {**ready, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {**alive, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6},
    }


def environment(deployment: Deployment) -> list[dict[str, Any]]:
    """Return the container's environment variables."""
    # Kubernetes would replace $(NAME) by another variable.
    return [
        {"name": name, "value": text.replace("$(", "$$(")}
        for name, text in sorted(deployment.settings.environment.items())
    ]


def resources(deployment: Deployment) -> dict[str, Any]:
    """Return the container's requests and limits."""
    settings = deployment.settings.resources
    limits = {"memory": settings.memory} | ({"cpu": f"{settings.cpu_limit:g}"} if settings.cpu_limit else {})
    return {"requests": {"cpu": f"{settings.cpu:g}", "memory": settings.memory}, "limits": limits}


def _volumes(deployment: Deployment) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = [
        {"name": "tmp", "emptyDir": {}},
        # Without subPath, because only a whole volume follows changes of the ConfigMap.
        {"name": "config", "configMap": {"name": resource_name(deployment.name)}},
    ]
    if deployment.fetches:
        volumes.append({"name": "models", "emptyDir": {}})
    elif not deployment.reads_store:
        claim = {"claimName": claim_name(deployment), "readOnly": True}
        volumes.append({"name": "models", "persistentVolumeClaim": claim})
    return volumes


def _mounts(deployment: Deployment) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = [
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True},
    ]
    if not deployment.reads_store:
        mounts.append({"name": "models", "mountPath": MODELS_FOLDER, "readOnly": True})
    return mounts


def _service_spec(deployment: Deployment) -> dict[str, Any]:
    settings = deployment.settings
    return {
        "type": settings.kubernetes.service_type,
        "selector": _selector(deployment),
        "ports": [
            {"name": "grpc", "port": settings.grpc_port, "targetPort": "grpc", "appProtocol": "kubernetes.io/h2c"},
            {"name": "rest", "port": settings.rest_port, "targetPort": "rest", "appProtocol": "http"},
        ],
    }


def _claim_spec(deployment: Deployment) -> dict[str, Any]:
    settings = deployment.settings.kubernetes
    spec: dict[str, Any] = {
        "accessModes": [settings.access_mode],
        "resources": {"requests": {"storage": settings.storage}},
    }
    if settings.storage_class:
        spec["storageClassName"] = settings.storage_class
    return spec


def _autoscaler_spec(deployment: Deployment, autoscale: Autoscale) -> dict[str, Any]:
    target = {"type": "Utilization", "averageUtilization": autoscale.cpu_percent}
    return {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": resource_name(deployment.name)},
        "minReplicas": autoscale.min,
        "maxReplicas": autoscale.max,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
    }
