"""MLServer with its adaptive batching: `mlserver start FOLDER`; FOLDER contains its two settings files."""

from __future__ import annotations

import members
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Ensemble(MLModel):
    """The ensemble behind the v2 protocol, with one input per feature."""

    async def load(self) -> bool:
        """Load the model."""
        self.model = members.load()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Predict the rows of one request, or of several that MLServer has combined."""
        import numpy as np

        columns = {entry.name: list(entry.data) for entry in payload.inputs}
        texts = {entry.name for entry in payload.inputs if entry.datatype == "BYTES"}
        for name in texts:
            columns[name] = [text if isinstance(text, str) else text.decode() for text in columns[name]]
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        output = NumpyCodec.encode_output("probabilities", np.array(self.model(rows), np.float32))
        return InferenceResponse(model_name=self.name, outputs=[output])
