"""Ensembles in Seldon Core v1's form: read, bound to models that are somewhere, asked, and fused into one SavedModel.

| module      | what is in it                                                                 |
|-------------|-------------------------------------------------------------------------------|
| `form`      | a SeldonDeployment as YAML, of which one predictor is read                    |
| `graph`     | what its inference graph says: transformer, combiner, models; what is refused |
| `bindings`  | where a node's model is: a SavedModel's folder, or a server                   |
| `imported`  | the ensemble's spec with its bindings, as one JSON file                       |
| `interface` | which signature of a model is asked, and which of its outputs is the answer   |
| `asking`    | rows in, answers out, by `benison.serving.fan_out`                                    |
| `fused`     | members and combiner as one SavedModel                                        |

Source of the form: Seldon Core's types for the API versions v1alpha2, v1alpha3 and v1 of machinelearning.seldon.io.
"""
