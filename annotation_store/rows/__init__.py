"""Rows from values and back, inside the transactions of the operations.

samples      samples and media
labels       labels, and which one of a sample counts
events       what reviewers did, and the counts of the pace
words        the search index, kept equal to the texts behind it
many         thousands of rows at once
"""
