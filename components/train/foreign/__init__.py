"""Members that were trained elsewhere: nothing is fitted, a finished model is imported and checked.

Nodes:
    importer: ModelImport, imports one model as a member.

Helper modules:
    settings: the settings of such a member.
    columns: the inputs of a model, from raw columns.
    answer: its output as a member's answer, and what is wrong with it.
    saved_model: a SavedModel as a function in TensorFlow operations.
    session_graph: a SavedModel of TensorFlow 1 as such a function.
"""
