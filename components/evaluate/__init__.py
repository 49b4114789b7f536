"""Nodes that score a candidate and decide whether it may be pushed.

TFX's Evaluator writes its tables beside them.

Nodes:
    scorer: Scorer (`MemberScores` and `EnsembleScores` in a pipeline), scores models row by row.
    baseline: Baseline, looks up the served version that the candidate is compared with.
    column_importance: ColumnImportance, measures what each raw column is worth to the models.
    blessing: Blessing, applies the rules to the scores and blesses or refuses the candidate.

Helper modules:
    rules: the rules of the blessing.
    comparison: compares a candidate with another model by one metric.
    verdicts: the verdict of a rule, and its JSON.
    label_report: LabelCheck's report, and its suspicious columns.
    labelled_rows: keeps rows without a label out of the metrics of TFX's Evaluator.
    metrics: metrics on NumPy arrays with row weights.
    bootstrap: confidence intervals by the paired bootstrap.
    conformal: intervals of a regression's answers.
    own_metrics: the user's own metrics.
    column_permutation: what models lose if a column is shuffled.
    raw_rows: rows as inputs of a model's signatures.
    permutation: tells knowledge from chance where rows are few.
    power: tells whether the rows are enough for a rule, and how many would do.
    judged_rows: the rows of `test` that a rule is about.
    score_tables: tables of metrics, by model and by slice.
    alignment: orders a model's output by the candidate's classes.
    score_writer: writes scores as Parquet.
"""
