"""Nodes that check the data before anything is trained on it.

TFX's StatisticsGen, SchemaGen and ExampleValidator run beside them.

Nodes:
    curated_schema: ImportSchemaGen, in whose schema the columns that the YAML uses are read.
    anomaly_gate: AnomalyGate, stops the run if an anomaly of the data has the severity `stop`.
    drift: DriftValidator, compares a span with the newest one that the served version was trained on.
    label_check: LabelCheck, checks the label and looks for columns that leak it.
    overlap_check: OverlapCheck, stops the run if rows of `test` are also in `train`.

Helper modules:
    small_statistics: the executor of StatisticsGen, which computes those of a small table without Beam.
    schema_violations: finds the rows of a CSV that violate the schema.
    leaks: measures how well a column alone predicts the label.
    overlap: measures how many rows of `test` are in `train`, and how many by chance.
    row_hashes: hashes of rows, with or without some columns.
    drift_report: DriftValidator's report, and the columns that drifted.
    label_shift: compares the label of two spans by a test, with the size of the change.
    drift_rows: finds the rows of a CSV that a drift consists of.
"""
