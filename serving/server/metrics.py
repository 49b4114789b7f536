"""Counters and latency histograms under TF Serving's names, rendered as a Prometheus page."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence

_BOUNDS = [10 * 1.8**power for power in range(33)]  # microseconds; the buckets of TF Serving
PATH = "/monitoring/prometheus/metrics"


class Metrics:
    """All counters and histograms of the server."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str], int] = {}
        self._latencies: dict[tuple[str, str, str], list[float]] = {}  # counts per bucket, larger ones, sum

    def count(self, model: str, code: str) -> None:
        """Count a request that has ended.

        Args:
            model: name of an existing model, or empty. Unknown names would let clients fill the memory.
            code: name of its code, for example `OK`.
        """
        self._requests[model, code] = self._requests.get((model, code), 0) + 1

    def latency(self, model: str, api: str, entrypoint: str, seconds: float) -> None:
        """Record the latency of an answered request.

        Args:
            model: name of the model.
            api: for example `predict`.
            entrypoint: `REST` or `GRPC`.
            seconds: time from its arrival to its response (seconds).
        """
        cells = self._latencies.setdefault((model, api, entrypoint), [0.0] * (len(_BOUNDS) + 2))
        micros = seconds * 1e6
        cells[bisect_left(_BOUNDS, micros)] += 1
        cells[-1] += micros

    def page(self, gauges: Sequence[tuple[str, dict[str, str], float]] = ()) -> str:
        """Return the page in the text format of Prometheus.

        Args:
            gauges: current values to add, as name, labels and value. Gauges of the same name must be adjacent.
        """
        lines = ["# TYPE :tensorflow:serving:request_count counter"]
        for (model, code), count in sorted(self._requests.items()):
            lines.append(f":tensorflow:serving:request_count{_labels(model_name=model, status=code)} {count}")
        name = ":tensorflow:serving:request_latency"
        lines.append(f"# TYPE {name} histogram")
        for (model, api, entrypoint), cells in sorted(self._latencies.items()):
            labels = {"model_name": model, "API": api, "entrypoint": entrypoint}
            total = 0.0
            for bound, cell in zip([*map(_number, _BOUNDS), "+Inf"], cells[:-1], strict=True):
                total += cell
                lines.append(f"{name}_bucket{_labels(**labels, le=bound)} {total:.0f}")
            lines += [f"{name}_sum{_labels(**labels)} {cells[-1]:.6g}", f"{name}_count{_labels(**labels)} {total:.0f}"]
        typed = ""
        for gauge, labels, value in gauges:
            if gauge != typed:
                lines.append(f"# TYPE {gauge} gauge")
                typed = gauge
            lines.append(f"{gauge}{_labels(**labels)} {value:g}")
        return "\n".join(lines) + "\n"


def _labels(**labels: str) -> str:
    escaped = {name: re.sub(r'(["\\])', r"\\\1", value).replace("\n", r"\n") for name, value in labels.items()}
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped.items()) + "}"


def _number(value: float) -> str:
    return f"{value:.6g}"
