"""Nodes that read data into Examples artifacts.

Nodes:
    example_gen: CsvExampleGen, reads CSV files into splits.
    import_example_gen: ImportExampleGen, reads TFRecord files of tf.Example into splits.
    span_window: SpanWindow, combines one or more spans into the four splits.

Helper modules:
    data_files: the files that a data path names.
    dvc_pointers: DVC's pointer files, and the files that they stand for.
    csv_table: CSV files as one table, in batches.
    times: the column that rows are ordered by.
    arguments: the arguments of TFX's ExampleGen.
    split_keys: the texts whose hash decides the split of a row.
    splits: the split of a row, and the parts of a span.
    example_writer: writes the files of an Examples artifact.
    content_driver: ExampleGen's driver, with cache keys from file content.
"""
