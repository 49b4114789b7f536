"""BentoML with its adaptive batching: `bentoml serve bentoml_app:Ensemble`."""

from __future__ import annotations

from typing import Any

import bentoml
import members


@bentoml.service(workers=1, traffic={"timeout": 60, "max_concurrency": 1024}, logging={"access": {"enabled": False}})
class Ensemble:
    """One batchable endpoint."""

    def __init__(self) -> None:
        self.model = members.load()

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000, route="/predict")
    def predict(self, instances: list[dict[str, Any]]) -> list[list[float]]:
        """Predict the rows of several requests together."""
        return self.model(instances)
