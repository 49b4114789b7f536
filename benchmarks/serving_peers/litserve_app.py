"""LitServe with its batching: `python litserve_app.py PORT`."""

from __future__ import annotations

import sys
from typing import Any

import litserve
import members


class Api(litserve.LitAPI):
    """Rows are decoded one by one and predicted together."""

    def setup(self, device: str) -> None:
        """Loads the model in the worker."""
        self.model = members.load()

    def decode_request(self, request):  # LitServe takes an annotation for the body's schema
        """A request's rows."""
        return request["instances"]

    def batch(self, inputs: list[list[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
        """Requests that run together."""
        return inputs

    def predict(self, requests: Any) -> Any:
        """One list of answers per request."""
        answers = iter(self.model([row for rows in requests for row in rows]))
        return [[next(answers) for _ in rows] for rows in requests]

    def unbatch(self, output: Any) -> Any:
        """The same list."""
        return output

    def encode_response(self, output: Any) -> dict[str, Any]:
        """As TF Serving writes it."""
        return {"predictions": output}


if __name__ == "__main__":
    api = Api(max_batch_size=64, batch_timeout=0.0)
    litserve.LitServer(api, accelerator="cpu", workers_per_device=1).run(
        host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False
    )
