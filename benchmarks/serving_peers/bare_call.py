"""Measure one TensorFlow call for one row without a server: `python bare_call.py FOLDER` prints JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

CALLS = 5000


def main(folder: Path) -> None:
    """Call the ensemble's signature CALLS times with the same row and print p50 and p99 (milliseconds)."""
    import numpy as np

    from benison.serving.server.engine import LoadOptions
    from benison.serving.server.engines.saved_model import SessionEngine

    engine = SessionEngine(str(folder / "ensemble" / "1"), LoadOptions())
    signature = engine.signatures["serving_default"]
    inputs = {
        name: np.array([b"word1"], object) if spec.dtype == "string" else np.ones(1, spec.dtype)
        for name, spec in signature.inputs.items()
    }
    outputs = tuple(signature.outputs)
    times = []
    for _ in range(CALLS):
        begun = time.perf_counter()
        engine.run(signature, inputs, outputs)
        times.append(time.perf_counter() - begun)
    times.sort()
    print(json.dumps({"p50": times[CALLS // 2] * 1e3, "p99": times[CALLS * 99 // 100] * 1e3}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
