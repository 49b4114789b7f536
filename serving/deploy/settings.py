"""`serving:` of a config: how a pipeline's model is served by TensorFlow Serving.

Serving
├── Budget          what a push may cost
├── Batching        which requests share a run
├── Resources       of one server
├── Compose         what only Docker Compose has
└── Kubernetes      what only Kubernetes has
    └── Autoscale
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from benison.serving.config_values import Bool, Count, Text, expected

# Of TF Serving, the newest release that the stubs of `tensorflow-serving-api` were made for.
DEFAULT_IMAGE = "tensorflow/serving:2.19.1"
_DNS_LABEL = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"

Value = Annotated[str, expected("text (in quotes where YAML would read something else)")]
Image = Annotated[
    str,
    Field(pattern=r"^[^\s@]+(@sha256:[0-9a-f]{64})?$"),
    expected("an image with a tag or digest, such as tensorflow/serving:2.19.1 or NAME@sha256:… of 64 hex digits"),
]
BasePath = Annotated[
    str,
    Field(pattern=r"^(/|[a-z][a-z0-9+.-]*://[^/\s]).*$"),
    expected("an absolute path or an object store's address, such as s3://BUCKET/models or gs://BUCKET/models"),
]
Store = Annotated[
    str,
    Field(pattern=r"^(s3|gs)://[^/\s]+(/[^\s]*)?$"),
    expected("an object store's address, such as s3://BUCKET/models or gs://BUCKET/models"),
]
Port = Annotated[int, Field(strict=True, ge=1, le=65535), expected("a port from 1 to 65535")]
Micros = Annotated[int, Field(strict=True, ge=0), expected("an integer >= 0 (microseconds)")]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False), expected("a number of seconds >= 0")]
Cores = Annotated[float, Field(gt=0, allow_inf_nan=False), expected("a number of cores > 0, such as 0.5")]
Size = Annotated[str, Field(pattern="^[1-9][0-9]*(Mi|Gi)$"), expected("a size in Mi or Gi, such as 512Mi or 2Gi")]
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False), expected("a number > 0")]
Percent = Annotated[int, Field(strict=True, ge=1, le=100), expected("an integer from 1 to 100")]
KubernetesName = Annotated[
    str,
    Field(pattern=f"^{_DNS_LABEL}$"),
    expected("a name of a-z, 0-9 and '-', 63 characters at the most, that begins and ends with a letter or digit"),
]


class SettingsModel(BaseModel):
    """What all parts share: they cannot be changed, and a key that nobody reads is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Batching(SettingsModel):
    """TF Serving's batching parameters, under its names. It batches nothing without them."""

    max_batch_size: Count = Field(default=1024, description="rows of the largest request that is taken")
    max_execution_batch_size: Count = Field(default=64, description="rows of one run; larger requests are split")
    batch_timeout_micros: Micros = Field(default=1000, description="time that a request waits for others at the most")
    max_enqueued_batches: Count = Field(default=100, description="runs that may wait; the next request is refused")
    num_batch_threads: Count | None = Field(
        default=None, description="runs at the same time; default: as many as cores, see resources"
    )

    @model_validator(mode="after")
    def _runs_within_requests(self) -> Batching:
        if self.max_execution_batch_size > self.max_batch_size:
            raise PydanticCustomError(
                "refused",
                f"max_execution_batch_size {self.max_execution_batch_size} is above max_batch_size "
                f"{self.max_batch_size}; TF Serving refuses that",
            )
        return self


class Resources(SettingsModel):
    """What one server may use."""

    cpu: Cores = Field(default=1.0, description="cores that are set aside")
    cpu_limit: Cores | None = Field(default=None, description="cores at the most; default: no limit")
    memory: Size = Field(default="2Gi", description="set aside, and the limit too")


class Compose(SettingsModel):
    """What only Docker Compose has."""

    host_address: Text = Field(
        default="127.0.0.1", description="where the ports are open; TF Serving asks nobody who they are"
    )
    env_file: Text | None = Field(
        default=None, description="a file with credentials as environment, beside compose.yaml"
    )


class Autoscale(SettingsModel):
    """A HorizontalPodAutoscaler."""

    min: Count = Field(default=1, description="servers at the least")
    max: Count = Field(description="servers at the most, an integer")
    cpu_percent: Percent = Field(default=70, description="of `resources.cpu` that is aimed at")

    @model_validator(mode="after")
    def _min_below_max(self) -> Autoscale:
        if self.min > self.max:
            raise PydanticCustomError("refused", f"min {self.min} is above max {self.max}")
        return self


class Kubernetes(SettingsModel):
    """What only Kubernetes has."""

    namespace: KubernetesName | None = Field(default=None, description="default: that of kubectl's context")
    replicas: Count = Field(default=1, description="servers; not used with autoscale")
    claim: KubernetesName | None = Field(
        default=None, description="an existing PersistentVolumeClaim that holds NAME/VERSION folders"
    )
    storage: Size | None = Field(default=None, description="writes a PersistentVolumeClaim of this size")
    storage_class: KubernetesName | None = Field(default=None, description="of that claim; default: the cluster's")
    access_mode: Literal["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany"] = Field(
        default="ReadWriteMany", description="of that claim; servers on several nodes need a Many one"
    )
    secret: KubernetesName | None = Field(default=None, description="a Secret with credentials as environment")
    service_account: KubernetesName | None = Field(default=None, description="default: the namespace's own")
    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    autoscale: Autoscale | None = Field(
        default=None, description="present where the number of servers follows the load"
    )
    min_available: Count | None = Field(
        default=None, description="writes a PodDisruptionBudget: servers that stay during maintenance"
    )

    @model_validator(mode="after")
    def _one_volume(self) -> Kubernetes:
        if self.claim and self.storage:
            raise PydanticCustomError(
                "refused", "got claim and storage, expected one: an existing claim, or the size of a new one"
            )
        least = self.autoscale.min if self.autoscale else self.replicas
        if self.min_available and self.min_available >= least:
            raise PydanticCustomError(
                "refused",
                f"min_available {self.min_available} is not below the number of servers, {least}: "
                "no node could be emptied",
            )
        return self


class BudgetSettings(SettingsModel):
    """What an ensemble may cost where it is served; the ServingValidator measures it before each push."""

    load_s: Amount = Field(default=120, description="seconds from a server's start until it answers")
    memory_mb: Amount = Field(default=4096, description="MB of memory that a server of it has at the peak")
    p99_ms: Amount = Field(default=250, description="milliseconds in which 99 % of requests of one row are answered")


class Serving(SettingsModel):
    """How the model is served by TensorFlow Serving: what a push must keep to, and what `benison deploy` writes."""

    budget: BudgetSettings = BudgetSettings()
    fan_out: Bool = Field(default=False, description="push each member as a model of its own too, NAME-MEMBER")
    promote: Annotated[Literal["auto", "manual"], expected("auto or manual")] = Field(
        default="auto", description="whether a blessed push is served at once, or by `benison promote`"
    )
    servers: tuple[Text, ...] = Field(
        default=(), description="host:port of gRPC of servers that are told of a change; others poll models.config"
    )
    settle_s: Seconds = Field(
        default=0,
        description="between the steps of a promotion where no server is named: longer than a TF Serving that polls "
        "models.config takes to poll and load (seconds)",
    )
    store: Store | None = Field(
        default=None,
        description="s3://… or gs://… that each version is copied to, as NAME/VERSION, before it is served",
    )
    keep: Count = Field(default=5, description="versions that `benison prune` leaves, those that are served besides")

    image: Image = Field(default=DEFAULT_IMAGE, description="TensorFlow Serving's image, by tag or digest")
    base_path: BasePath | None = Field(
        default=None,
        description="where TF Serving finds NAME/VERSION folders: an absolute path, s3://… or gs://…; default: "
        "the store, or else ROOT/serving",
    )
    grpc_port: Port = Field(default=8500, description="where clients find gRPC; in the container it is 8500")
    rest_port: Port = Field(default=8501, description="where clients find REST; in the container it is 8501")
    config_poll_seconds: Count = Field(default=10, description="how often models.config is read again")
    folder_poll_seconds: Count | None = Field(
        default=None, description="how often versions are looked for; default: 1, in an object store 60"
    )
    batching: Batching | None = Field(default=Batching(), description="null: every request runs alone")
    monitoring: Bool = Field(default=True, description="Prometheus at /monitoring/prometheus/metrics")
    grpc_health: Bool = Field(
        default=False, description="gRPC's health service, for releases of TF Serving that have it"
    )
    resources: Resources = Resources()
    environment: Mapping[Text, Value] = Field(default={}, description="of the server, such as S3_ENDPOINT; no secrets")
    compose: Compose = Compose()
    kubernetes: Kubernetes = Kubernetes()

    @property
    def place(self) -> str | None:
        """Where TF Serving finds NAME/VERSION folders; None for ROOT/serving."""
        return self.base_path or self.store

    @property
    def object_store(self) -> bool:
        """Whether that is an object store, so that no volume is needed."""
        return self.place is not None and "://" in self.place

    @model_validator(mode="after")
    def _two_ports(self) -> Serving:
        if self.grpc_port == self.rest_port:
            raise PydanticCustomError("refused", f"got {self.grpc_port} for both ports, expected two different ones")
        wrong = sorted(name for name in self.environment if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name))
        if wrong:
            raise PydanticCustomError("refused", f"environment: {wrong[0]!r} is no name of a variable")
        return self
