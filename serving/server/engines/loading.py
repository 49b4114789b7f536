"""Chooses the engine for a version's folder and loads the version with it."""

from __future__ import annotations

from benison.serving.server.engine import Engine, LoadOptions


def load(path: str, options: LoadOptions) -> Engine:
    """Load a version's folder, and run its warm-up requests or else one made-up row.

    Raises:
        Exception: The version cannot be loaded, or a warm-up request or the made-up row fails; see
            `status.from_exception`.
    """
    from benison.serving.server.engines import onnx, readiness, saved_model, tflite, warmup

    engine: Engine
    if options.prefer_tflite and tflite.is_present(path):
        engine = tflite.TFLiteEngine(path, options)
    elif onnx.is_present(path):
        engine = onnx.OnnxEngine(path, options)
    else:
        engine = saved_model.SessionEngine(path, options)
    try:
        if not (options.warm_up and warmup.replay(path, engine, options.warm_up_iterations)):
            readiness.check(engine, path)
    except BaseException:
        engine.close()
        raise
    return engine
