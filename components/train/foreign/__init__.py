"""Members that were trained elsewhere: nothing is fitted, a finished model is imported and checked.

Nodes:
    importer: ModelImport, imports one model as a member.

Helper modules:
    settings: the settings of such a member.
    columns: the inputs of a model, from raw columns.
    answer: its output as a member's answer, and what is wrong with it.
    imported: a model as a function in TensorFlow operations, of any kind.
    onnx_model: an ONNX model as such a function.
    onnx_operators, onnx_ml_operators: the operators that can be converted.
    onnx_nodes: a node of an ONNX graph.
    saved_model: a SavedModel as such a function.
    session_graph: a SavedModel of TensorFlow 1 as such a function.
"""
