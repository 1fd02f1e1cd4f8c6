"""The review queue inside transactions: what is in it, and in which order.

items        reasons in, items opened and closed, counters kept equal to the rows
filling      many new samples at once
next_item    which open item comes next for a reviewer
views        an item as its reviewer sees it, and the weights in force
"""
