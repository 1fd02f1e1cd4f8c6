"""What comes in by file: preview first, then the import, with a reason for every row that is refused.

values          what an import is told and tells (without sqlalchemy)
files           which form a file has; opening it, and never anything beside it
readers         rows of JSONL, JSON, CSV, Parquet and folders, one at a time
proposing       what the columns seem to be
labels_said     what the cells of a row say
sharegpt        conversations: request, response, labels and reasoning out of their turns
interpreting    from a row of a file to a sample with its label
chunk, bulk     import_rows: some thousand rows a transaction, through executemany
previewing      preview: the first rows, nothing stored (without sqlalchemy)
running         run_import, refused_rows, write_refused
"""
