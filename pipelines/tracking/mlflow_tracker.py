"""MLflow: a run per run, and the pushed versions as versions of a registered model, with the aliases of their labels.

Tags of Benison tell whether MLflow has an event already: `benison.run` and `benison.sent` (when it ended) of a run,
`benison.version` of a version, and `benison.stable_at` of the registered model: when its alias last changed.
"""

from __future__ import annotations

import os
import platform
import re
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote, urlsplit

from benison.pipelines.tracking import mlflow_model
from benison.pipelines.tracking.refusal import Refused, require
from benison.serving.addresses import without_secrets

_REQUEST_S = 20  # of a server that has answered already, see `reachable`
_BATCH = 100  # MLflow's limit of parameters, and of tags, in a request
_KEY, _VALUE = 250, 5000  # characters that MLflow allows
_WRONG = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
_STATES = {"failed": "FAILED", "invalid": "FAILED", "interrupted": "KILLED"}
_SENT = "benison.sent"
_MODEL, _VERSION, _LOADER = (
    "model",
    "version",
    "benison_mlflow_model",
)  # folders in MLflow, and the loader's module there
_MOST_BYTES = 100 << 20  # a larger version stays where it is


class MlflowTracker:
    """See `benison.pipelines.tracking.sender.Tracker`.

    Args:
        uri: of the tracking server; the registry is the same.

    Raises:
        UsageError: the library is not installed.
    """

    first_s = 8.0
    run_s = 15.0

    def __init__(self, uri: str) -> None:
        require("mlflow", "mlflow-skinny", "tracking.mlflow")
        os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(_REQUEST_S)
        from mlflow import MlflowClient

        self.shown = f"MLflow at {without_secrets(uri)}"
        self._uri = uri
        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        self._experiments: dict[str, str] = {}

    def connect(self, experiment: str) -> None:
        """Find or create the experiment."""
        if experiment not in self._experiments:
            found = self._client.get_experiment_by_name(experiment)
            if found is not None and found.lifecycle_stage == "deleted":
                self._client.restore_experiment(found.experiment_id)
            self._experiments[experiment] = found.experiment_id if found else self._client.create_experiment(experiment)

    def send(self, event: Mapping[str, Any]) -> None:
        """Send an event."""
        from mlflow.exceptions import MlflowException

        try:
            run_id = self._log(event) if event["kind"] == "run" else None
            if event.get("label") or event["version"]:
                self._register(event, run_id)
            if run_id is not None:
                self._client.set_tag(run_id, _SENT, repr(event["at"]))
        except MlflowException as error:
            if error.error_code in _WRONG:
                raise Refused(self.reason(error)) from error
            raise

    def reason(self, error: Exception) -> str:
        """Return an error's message without the URI's user, password and query."""
        text = " ".join(str(error).split())
        parts = urlsplit(self._uri)
        text = text.replace(self._uri, without_secrets(self._uri))
        for secret in filter(None, (parts.password, parts.query, parts.netloc.rpartition("@")[0])):
            text = text.replace(secret, "...")
        if "refused" in text:
            return "connection refused"
        if "timed out" in text or "timeout" in text:
            return "no answer"
        return f"{type(error).__name__}: {text[:300]}"

    def _log(self, event: Mapping[str, Any]) -> str:
        """Log a run, unless MLflow has it; continue one that was not complete. Return MLflow's id of it."""
        from mlflow.entities import Metric, Param, RunTag

        start, end = int(event["started"] * 1000), int(event["at"] * 1000)
        run = self._logged(event["experiment"], event["id"])
        if run is None:
            experiment, tags = self._experiments[event["experiment"]], {"benison.run": event["id"]}
            run = self._client.create_run(experiment, start_time=start, tags=tags, run_name=event["id"])
        run_id = str(run.info.run_id)
        if run.data.tags.get(_SENT) == repr(event["at"]):  # a run that Airflow has continued ends once more
            return run_id
        # The same numbers at the same time again are one entry.
        for metrics in _chunks(Metric(_key(k), v, end, 0) for k, v in event["metrics"].items()):
            self._client.log_batch(run_id, metrics=metrics)
        for params in _chunks(Param(_key(k), v[:_VALUE]) for k, v in event["params"].items()):
            self._client.log_batch(run_id, params=params)
        for labels in _chunks(RunTag(_key(k), v[:_VALUE]) for k, v in event["tags"].items() if v):
            self._client.log_batch(run_id, tags=labels)
        for name, text in event["texts"].items():
            self._client.log_text(run_id, text, name)
        for file in map(Path, event["files"].values()):
            if file.is_file():  # pruning may have removed it
                self._client.log_artifact(run_id, str(file))
        self._client.set_terminated(run_id, _STATES.get(event["outcome"], "FINISHED"), end)
        return run_id

    def _logged(self, experiment: str, run: str) -> Any:
        """Return MLflow's run of a run; None if it has none."""
        query = f"tags.`benison.run` = '{run}'"
        return next(iter(self._client.search_runs([self._experiments[experiment]], query, max_results=1)), None)

    def _register(self, event: Mapping[str, Any], run_id: str | None) -> None:
        """Register a version and move the alias of its label."""
        from mlflow.exceptions import MlflowException

        name, version, label = event["pipeline"], event["version"], event["label"]
        try:
            model = self._client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            model = self._client.create_registered_model(name, tags={"benison.pipeline": name})
        number = self._version(name, version, run_id, event["experiment"]) if version else None
        moved = f"benison.{label}_at"
        if label is None or float(model.tags.get(moved, 0)) >= event["at"]:
            return
        if number is not None:
            self._client.set_registered_model_alias(name, label, number)
        elif label in model.aliases:
            self._client.delete_registered_model_alias(name, label)
        self._client.set_registered_model_tag(name, moved, repr(event["at"]))

    def _version(self, name: str, version: Mapping[str, str], run_id: str | None, experiment: str) -> str:
        """Return MLflow's number of a version, which is registered if it was not."""
        for known in self._client.search_model_versions(f"name = '{name}'"):
            if known.tags.get("benison.version") == version["number"]:  # also if ROOT was moved since
                return str(known.version)
        tags = {"benison.version": version["number"]}
        if run_id is None and version.get("run") and (pushed_by := self._logged(experiment, version["run"])):
            run_id = str(pushed_by.info.run_id)  # of a version that was published again
        source = self._model(f"{name}/{version['number']}", Path(version["path"]), run_id) if run_id else ""
        # Else a path on a host, in a scheme of our own: MLflow refuses `file`, which would be the server's own disk.
        source = source or f"benison://{socket.gethostname()}{quote(version['path'])}"
        return str(self._client.create_model_version(name, source, run_id, tags=tags).version)

    def _model(self, name: str, folder: Path, run_id: str) -> str:
        """Log the files of a version as a model that MLflow can load; return its URI, or '' if it is none, or large."""
        from mlflow.models import Model

        files = [file for pattern in mlflow_model.FILES for file in folder.glob(pattern)]
        if not (folder / "saved_model.pb").is_file() or sum(file.stat().st_size for file in files) > _MOST_BYTES:
            return ""
        loader = Path(mlflow_model.__file__)
        with TemporaryDirectory() as made:
            top = Path(made)
            for source, target in (
                *((file, top / _VERSION / file.relative_to(folder)) for file in files),
                (loader, top / "code" / f"{_LOADER}.py"),
            ):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(source.resolve())
            needed = [*(f"{package}=={metadata.version(package)}" for package in ("numpy", "tensorflow")), "pandas"]
            (top / "requirements.txt").write_text("".join(f"{line}\n" for line in needed))
            place = f"{_MODEL}-{folder.name}"
            described = Model(artifact_path=place, run_id=run_id, metadata={"benison.version": name})
            described.add_flavor(
                "python_function",
                loader_module=_LOADER,
                code="code",
                data=_VERSION,
                python_version=platform.python_version(),
            )
            described.save(str(top / "MLmodel"))
            self._client.log_artifacts(run_id, made, place)
        return f"{self._client.get_run(run_id).info.artifact_uri}/{place}"


def _key(name: str) -> str:
    """Return a name with the characters that MLflow allows."""
    return re.sub(r"[^\w\-. :/]", "_", name)[:_KEY]


def _chunks(values: Iterable[Any]) -> Iterator[Sequence[Any]]:
    iterator = iter(values)
    while chunk := list(islice(iterator, _BATCH)):
        yield chunk
