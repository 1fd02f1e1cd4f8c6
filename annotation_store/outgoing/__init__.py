"""What goes out by file: JSONL, CSV, Parquet and ShareGPT, with the media copied beside.

values           what an export is told and tells (without sqlalchemy)
rows             a sample with its label as one plain row
cells            texts in CSV cells: safe in a spreadsheet, exact when they come back
sharegpt_rows    a labelled sample as a conversation
media_beside     copies of media, every byte checked
writers          the four forms
exporting        export: a filter into a new folder
"""
