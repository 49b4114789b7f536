"""The signature of a model that has no SignatureDef."""

from __future__ import annotations

from collections.abc import Mapping

from benison.serving.server.engine import Signature, TensorSpec


def predict_signature(name: str, inputs: Mapping[str, TensorSpec], outputs: Mapping[str, TensorSpec]) -> Signature:
    """Return a signature of TensorFlow Serving's Predict with a SignatureDef for metadata."""
    import tensorflow as tf
    from tensorflow.core.protobuf import meta_graph_pb2

    proto = meta_graph_pb2.SignatureDef(method_name="tensorflow/serving/predict")
    for specs, infos in ((inputs, proto.inputs), (outputs, proto.outputs)):
        for alias, spec in specs.items():
            infos[alias].name = spec.tensor
            infos[alias].dtype = tf.dtypes.as_dtype(spec.dtype).as_datatype_enum
            for size in spec.shape or ():
                infos[alias].tensor_shape.dim.add(size=size)
    return Signature(name, proto.method_name, inputs, outputs, proto)
