"""Which split a near-duplicate group has, and which group a new sample joins. Pure rules.

Nothing that was trained on may ever be tested on, and neither may its near-duplicates. So a split belongs to a whole
group, is drawn once from a hash of the group's content, and stays. Groups grow as samples come in:

- A sample that is near to no other opens a group.
- A sample that is near to several groups joins them into one, as long as at most one split was given among them; the
  joined group has that split.
- Where different splits were given already, the groups stay apart and keep them. The sample between them would carry
  one into the other whichever it joined, so it joins neither: its split is `withheld`, for ever, and no snapshot takes
  it. Being near to a withheld sample means nothing, because no split holds it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from core.snapshots.folder import Split

SHARES: Mapping[Split, float] = {Split.TRAIN: 0.8, Split.VALIDATION: 0.1, Split.TEST: 0.1}
"""How much of all groups each split gets. Changing these changes groups that have no split yet, and no other."""


def draw_split(sample_ids: Iterable[str], shares: Mapping[Split, float] = SHARES) -> Split:
    """The split of a group that has none yet: a hash of its smallest sample id decides.

    The ids are digests of the content, so two stores that hold the same content draw the same splits.
    """
    digest = hashlib.sha256(b"split-v1 " + min(sample_ids).encode()).digest()
    at = int.from_bytes(digest[:8], "big") / 2**64 * sum(shares.values())
    for split, share in shares.items():
        if at < share:
            return split
        at -= share
    return Split.TRAIN


def joined_split(given: Iterable[Split | None]) -> Split | None:
    """The split of a sample that is near to groups with these splits; none when it was given to none of them yet.

    `Split.WITHHELD` when the groups must stay apart.
    """
    known = {split for split in given if split not in (None, Split.WITHHELD)}
    if len(known) > 1:
        return Split.WITHHELD
    return known.pop() if known else None
