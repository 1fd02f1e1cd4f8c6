"""Near-duplicates: texts by MinHash, pictures by perceptual hash, groups of them, and the split of each group.

text, pictures      signatures and hashes: pure
media_hashes        the hashes of stored files
lookup              the bands in the database as an index
splits              the rules: which group a sample joins, which split a group has
grouping            groups while a batch is put into them; assign_splits
passing             mark_duplicates: the pass over all samples that were not compared yet
near                neighbours: what the reviewer sees beside an item
"""
