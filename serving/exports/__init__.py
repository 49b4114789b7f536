"""Ways out of Benison: a version as ONNX, PMML, a bundle, a BentoML service or a Gradio app.

Modules:
    writing: writes an export to a folder, if it is proven.
    proof: the rows by which an export is proven, and their comparison.
    onnx_model: ONNX by tf2onnx.
    onnx_graph: operations that tf2onnx converts wrongly, written in another way.
    pmml: trees as PMML.
    bundle: a folder with the SavedModel and a reader, and the projects that contain it.

`templates/` has the files of bundles and projects.
"""
