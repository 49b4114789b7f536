"""A landed span is told to Airflow, where the DAG of its pipeline waits for it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from benison.pipelines.airflow import api, manifest
from benison.pipelines.data.spans import Span
from benison.serving.errors import BenisonError


def post_span_event(name: str, span: Span, environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Posts the asset event of a span. The span has landed whatever becomes of that.

    Args:
        name: the pipeline's.
        span: that landed.
        environment: without BENISON_AIRFLOW_URL nobody is told.

    Yields:
        What to say of it: who was told, or a warning.
    """
    if not environment.get(api.URL):
        return
    uri = manifest.asset(name, "spans")
    try:
        extra = {"span": span.number, "rows": span.rows, "sha256": span.sha256}
        api.configured(environment).post_event(uri, extra)
    except BenisonError as error:
        yield f"warning: the span has landed, but Airflow was not told: {error}"
    else:
        yield f"told Airflow at {environment[api.URL]}: {uri}"
