"""`serving:` of a config: the settings for serving a pipeline's model with TensorFlow Serving.

Serving
├── BudgetSettings  limits for load time, memory and latency
├── TFLite          the TensorFlow Lite file of a version
├── Batching        TF Serving's batching parameters
├── Resources       cores and memory of one server
├── Compose         settings for Docker Compose only
└── Kubernetes      settings for Kubernetes only
    └── Autoscale
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from benison.serving.config_values import AnyText, Bool, Count, Text, expected
from benison.serving.explanations.background import MOST_ROWS, ROWS

# The newest release of TF Serving that `tensorflow-serving-api` has stubs for.
DEFAULT_IMAGE = "tensorflow/serving:2.19.1"
_DNS_LABEL = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"

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
Background = Annotated[
    int,
    Field(strict=True, ge=0, le=MOST_ROWS),
    expected(f"a number of rows up to {MOST_ROWS}, or 0 for none"),
]
Percent = Annotated[int, Field(strict=True, ge=1, le=100), expected("an integer from 1 to 100")]
KubernetesName = Annotated[
    str,
    Field(pattern=f"^{_DNS_LABEL}$"),
    expected("a name of a-z, 0-9 and '-', 63 characters at the most, that begins and ends with a letter or digit"),
]


class SettingsModel(BaseModel):
    """Base of all parts: frozen, and an unknown key is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Batching(SettingsModel):
    """TF Serving's batching parameters, with its names. Without them, it does not batch."""

    max_batch_size: Count = Field(default=1024, description="rows of the largest request that is accepted")
    max_execution_batch_size: Count = Field(
        default=64, description="rows of the largest batch; larger requests are split"
    )
    batch_timeout_micros: Micros = Field(default=1000, description="longest time that a request waits for others")
    max_enqueued_batches: Count = Field(default=100, description="batches that may wait; further requests are refused")
    num_batch_threads: Count | None = Field(
        default=None, description="batches that run at the same time; default: the number of cores, see resources"
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
    """Cores and memory of one server."""

    cpu: Cores = Field(default=1.0, description="reserved cores")
    cpu_limit: Cores | None = Field(default=None, description="largest number of cores; default: no limit")
    memory: Size = Field(default="2Gi", description="reserved memory, and its limit")


class Compose(SettingsModel):
    """Settings for Docker Compose only."""

    host_address: Text = Field(
        default="127.0.0.1", description="address where the ports are open; TF Serving has no authentication"
    )
    env_file: Text | None = Field(
        default=None, description="file beside compose.yaml with credentials as environment variables"
    )


class Autoscale(SettingsModel):
    """A HorizontalPodAutoscaler."""

    min: Count = Field(default=1, description="smallest number of servers")
    max: Count = Field(description="largest number of servers, an integer")
    cpu_percent: Percent = Field(default=70, description="target utilization of `resources.cpu`")

    @model_validator(mode="after")
    def _min_below_max(self) -> Autoscale:
        if self.min > self.max:
            raise PydanticCustomError("refused", f"min {self.min} is above max {self.max}")
        return self


class Kubernetes(SettingsModel):
    """Settings for Kubernetes only."""

    namespace: KubernetesName | None = Field(default=None, description="default: the namespace of kubectl's context")
    replicas: Count = Field(default=1, description="number of servers; not used with autoscale")
    claim: KubernetesName | None = Field(
        default=None, description="existing PersistentVolumeClaim that contains NAME/VERSION folders"
    )
    storage: Size | None = Field(default=None, description="size of a new PersistentVolumeClaim")
    storage_class: KubernetesName | None = Field(
        default=None, description="storage class of the new claim; default: the cluster's"
    )
    fetch_image: Image | None = Field(
        default=None,
        description="image with Benison, with which each pod fetches the versions from the object store before the "
        "server starts",
    )
    access_mode: Literal["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany"] = Field(
        default="ReadWriteMany", description="access mode of the new claim; servers on several nodes need a Many mode"
    )
    secret: KubernetesName | None = Field(default=None, description="Secret with credentials as environment variables")
    service_account: KubernetesName | None = Field(default=None, description="default: the namespace's service account")
    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    autoscale: Autoscale | None = Field(default=None, description="lets the number of servers follow the load")
    min_available: Count | None = Field(
        default=None, description="number of servers that stay up during maintenance (a PodDisruptionBudget)"
    )

    @model_validator(mode="after")
    def _one_volume(self) -> Kubernetes:
        if self.claim and self.storage:
            raise PydanticCustomError(
                "refused", "got claim and storage, expected one: an existing claim, or the size of a new one"
            )
        if self.fetch_image and (self.claim or self.storage):
            raise PydanticCustomError(
                "refused",
                "got fetch_image and a claim, expected one: each pod fetches the versions into its own volume",
            )
        if self.storage and self.access_mode == "ReadOnlyMany":
            raise PydanticCustomError(
                "refused", "access_mode ReadOnlyMany: a new claim is empty, and nobody could write versions to this one"
            )
        least = self.autoscale.min if self.autoscale else self.replicas
        if self.min_available and self.min_available >= least:
            raise PydanticCustomError(
                "refused",
                f"min_available {self.min_available} is not below the number of servers, {least}: "
                "Kubernetes could never empty a node",
            )
        return self


class BudgetSettings(SettingsModel):
    """Limits for a served ensemble; the ServingValidator measures them before each push."""

    load_s: Amount = Field(default=120, description="seconds from the start of a server to its first answer")
    memory_mb: Amount = Field(default=4096, description="peak memory of a server, in MB")
    p99_ms: Amount = Field(
        default=250, description="time in which 99 % of requests of one row are answered, in milliseconds"
    )


class TFLite(SettingsModel):
    """A TensorFlow Lite file beside the SavedModel, `model.tflite`, for devices and `--prefer_tflite_model`."""

    quantize: Annotated[Literal["none", "dynamic", "float16", "int8"], expected("none, dynamic, float16 or int8")] = (
        Field(
            default="none",
            description="none: float32; dynamic: weights of 8 bits; float16: weights of 16 bits; int8: weights and "
            "operations of 8 bits, with the ranges of rows of train",
        )
    )
    max_drop: Annotated[float, Field(ge=0, allow_inf_nan=False), expected("a number >= 0, in the metric's unit")] = (
        Field(
            description="how much of the metric the file may lose on test, in the metric's unit: the upper end of the "
            "interval must be below it; a file that loses more is not pushed"
        )
    )


class Serving(SettingsModel):
    """Settings for serving the model: limits for a push, promotion, and the files of `benison deploy`."""

    budget: BudgetSettings = BudgetSettings()
    fan_out: Bool = Field(default=False, description="also push each member as a separate model, NAME-MEMBER")
    share_runs: Bool = Field(
        default=False,
        description="let requests share runs even if the graph does not show that rows are independent",
    )
    promote: Annotated[Literal["auto", "manual"], expected("auto or manual")] = Field(
        default="auto", description="auto: a blessed push is promoted at once; manual: by `benison promote`"
    )
    servers: tuple[Text, ...] = Field(
        default=(), description="host:port (gRPC) of servers to notify of changes; other servers poll models.config"
    )
    settle_s: Seconds = Field(
        default=0,
        description="seconds between the steps of a promotion without `servers`: more than TF Serving needs to poll "
        "models.config and load a version",
    )
    store: Store | None = Field(
        default=None,
        description="s3://… or gs://… to which each version is copied, as NAME/VERSION, before it is served",
    )
    background: Background = Field(
        default=ROWS,
        description="rows of train that a version keeps, to explain its answers; 0: none, and no explanations",
    )
    tflite: TFLite | None = Field(
        default=None, description="also push the model as a TensorFlow Lite file, model.tflite; default: none"
    )
    keep: Count = Field(
        default=5, description="number of versions that `benison prune` keeps, in addition to the served ones"
    )

    image: Image = Field(default=DEFAULT_IMAGE, description="TensorFlow Serving's image, by tag or digest")
    base_path: BasePath | None = Field(
        default=None,
        description="where TF Serving finds NAME/VERSION folders: an absolute path, s3://… or gs://…; default: "
        "the store, else ROOT/serving",
    )
    grpc_port: Port = Field(default=8500, description="port of gRPC for clients; in the container it is 8500")
    rest_port: Port = Field(default=8501, description="port of REST for clients; in the container it is 8501")
    config_poll_seconds: Count = Field(default=10, description="seconds between two readings of models.config")
    folder_poll_seconds: Count | None = Field(
        default=None, description="seconds between two searches for versions; default: 1, in an object store 60"
    )
    batching: Batching | None = Field(default=Batching(), description="null: no batching")
    monitoring: Bool = Field(default=True, description="Prometheus at /monitoring/prometheus/metrics")
    grpc_health: Bool = Field(
        default=False, description="use gRPC's health service; only newer releases of TF Serving have it"
    )
    resources: Resources = Resources()
    environment: Mapping[Text, AnyText] = Field(
        default={}, description="environment variables of the server, such as S3_ENDPOINT; no secrets"
    )
    compose: Compose = Compose()
    kubernetes: Kubernetes = Kubernetes()

    @property
    def place(self) -> str | None:
        """Place of the NAME/VERSION folders; None for ROOT/serving."""
        return self.base_path or self.store

    @property
    def object_store(self) -> bool:
        """True if that place is an object store, so that no volume is needed."""
        return self.place is not None and "://" in self.place

    @model_validator(mode="after")
    def _two_ports(self) -> Serving:
        if self.grpc_port == self.rest_port:
            raise PydanticCustomError("refused", f"got {self.grpc_port} for both ports, expected two different ones")
        wrong = sorted(name for name in self.environment if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name))
        if wrong:
            raise PydanticCustomError("refused", f"environment: {wrong[0]!r} is not a valid variable name")
        return self
