"""Ensembles written as Seldon Core v1 graphs: read, bind to models, predict, and export as one SavedModel.

| module              | content                                                                        |
|---------------------|--------------------------------------------------------------------------------|
| `seldon_deployment` | pydantic models of a SeldonDeployment, and the reader of its YAML              |
| `graph`             | the inference graph: transformers, combiner and models; refuses other graphs   |
| `bindings`          | the model of each node: the folder of a SavedModel, or a server                |
| `imported_ensemble` | the ensemble's spec with its bindings, as one JSON file                        |
| `interface`         | the signature that a model is called with, and the output that is its answer   |
| `missing_cells`     | the value for a missing cell that all models of an ensemble take               |
| `member_requests`   | predictions for rows, by `benison.serving.fan_out`                             |
| `fusion`            | the export of members and combiner as one SavedModel                           |

Source: Seldon Core's types for the API versions v1alpha2, v1alpha3 and v1 of machinelearning.seldon.io.
"""
