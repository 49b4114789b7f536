"""LitServe with its batching: `python litserve_app.py PORT`."""

from __future__ import annotations

import sys
from typing import Any

import litserve
import members


class Api(litserve.LitAPI):
    """Decodes each request and predicts several requests together."""

    def setup(self, device: str) -> None:
        """Load the model in the worker."""
        self.model = members.load()

    def decode_request(self, request):  # without annotations, which LitServe would use as the schema of the body
        """Return the rows of a request."""
        return request["instances"]

    def batch(self, inputs: list[list[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
        """Return the requests of a batch unchanged."""
        return inputs

    def predict(self, requests: Any) -> Any:
        """Return one list of predictions per request."""
        predictions = iter(self.model([row for rows in requests for row in rows]))
        return [[next(predictions) for _ in rows] for rows in requests]

    def unbatch(self, output: Any) -> Any:
        """Return the list unchanged."""
        return output

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Return the response in the form of TF Serving."""
        return {"predictions": output}


if __name__ == "__main__":
    api = Api(max_batch_size=64, batch_timeout=0.0)
    litserve.LitServer(api, accelerator="cpu", workers_per_device=1).run(
        host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False
    )
