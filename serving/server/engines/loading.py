"""Chooses the engine for a version's folder and loads the version with it."""

from __future__ import annotations

from benison.serving.server.engine import Engine, LoadOptions


def load(path: str, options: LoadOptions) -> Engine:
    """Load a version's folder and run its warm-up requests.

    Raises:
        Exception: The version cannot be loaded, or a warm-up request fails; see `status.from_exception`.
    """
    from benison.serving.server.engines import saved_model, tflite, warmup

    engine: Engine
    if options.prefer_tflite and tflite.is_present(path):
        engine = tflite.TFLiteEngine(path, options)
    else:
        engine = saved_model.SessionEngine(path, options)
    if options.warm_up:
        try:
            warmup.replay(path, engine, options.warm_up_iterations)
        except BaseException:
            engine.close()
            raise
    return engine
