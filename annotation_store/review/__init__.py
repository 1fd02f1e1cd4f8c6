"""What reviewers do: operations that take an open store first.

claims       claim_next, claim_sample, held, item_of, heartbeat, release
decisions    submit, skip, second_opinion, undo, reopen, recent
acting       what these have in common, inside their transactions
progress     left, pace, audit_figures
weights      weights, set_weight
"""
