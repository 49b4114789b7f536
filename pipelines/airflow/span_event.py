"""Notify Airflow of a new span, which starts the pipeline's DAG."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from benison.pipelines.airflow import api, manifest
from benison.pipelines.data.spans import Span
from benison.serving.errors import BenisonError


def post_span_event(name: str, span: Span, environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Post the asset event of a span. A failure is only a warning, because the span has landed already.

    Args:
        name: the pipeline's name.
        span: the span that landed.
        environment: nothing is posted if it has no BENISON_AIRFLOW_URL.

    Yields:
        A message for the user: what was posted, or a warning.
    """
    if not environment.get(api.URL):
        return
    uri = manifest.asset(name, "spans")
    try:
        extra = {"span": span.number, "rows": span.rows, "sha256": span.sha256}
        api.configured(environment).post_event(uri, extra)
    except BenisonError as error:
        yield f"warning: the span has landed, but Airflow was not notified: {error}"
    else:
        yield f"notified Airflow at {environment[api.URL]}: {uri}"
