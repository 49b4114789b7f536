"""The one reader of rows: text files as Arrow record batches, for `init`, ingestion, checks and predictions.

All must read a file in the same way: a cell that has a line break, or a column that appears twice, would otherwise be
another value for a served model than in training.

    csv_rows: the records of a CSV file, in chunks.
    csv_blocks: cuts a CSV file into blocks of whole lines, as UTF-8.
    read: rows for predictions from CSV, JSON, JSON lines and Parquet.
"""
