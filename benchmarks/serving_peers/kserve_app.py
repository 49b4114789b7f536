"""KServe's model server, which does not batch: `python kserve_app.py --http_port=PORT`."""

from __future__ import annotations

from typing import Any

import kserve
import members


class Ensemble(kserve.Model):
    """The ensemble behind the v1 protocol."""

    def __init__(self) -> None:
        super().__init__("m")
        self.model = members.load()
        self.ready = True

    def predict(self, payload: dict[str, Any], headers: Any = None, response_headers: Any = None) -> dict[str, Any]:
        """Predict all instances of a request, which may be a batch of the Go batcher."""
        return {"predictions": self.model(payload["instances"])}


if __name__ == "__main__":
    kserve.ModelServer(enable_grpc=False, enable_docs_url=False).start([Ensemble()])
