"""The one reader and writer of rows: files as Arrow record batches, for `init`, ingestion, checks and predictions.

All must read a file in the same way: a cell that has a line break, or a column that appears twice, would otherwise be
another value for a served model than in training. And a table must give the same values in every form.

    read: rows for predictions from CSV, JSON, JSON lines and Parquet.
    tables: a file as a table, whatever its form.
    csv_rows, json_rows, parquet_rows: the records of a file of each form, in chunks.
    csv_blocks: cuts a file into blocks of whole lines, as UTF-8.
    number_columns: columns of text as numbers.
    chunks: consecutive records, as Arrow batches or as rows.
    write: Arrow record batches to CSV, JSON lines and Parquet.
"""
