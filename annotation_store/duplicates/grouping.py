"""Groups while a batch of samples is put into them: joined in memory, written once at the end."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, delete, func, insert, select, update

from annotation_store.duplicates.lookup import batches
from annotation_store.duplicates.splits import draw_split, joined_split
from annotation_store.models import GroupMemberRow, GroupRow, SampleMediaRow, SampleRow
from core.snapshots.folder import Split


class Grouping:
    """The groups that a batch may touch. Lives within one writing transaction."""

    def __init__(self, connection: Connection, now: str) -> None:
        self._connection = connection
        self._now = now
        self._next = (connection.scalar(select(func.max(GroupRow.key))) or 0) + 1
        self._first_new = self._next
        self._joined: dict[int, int] = {}
        """A group that became part of another, and which."""
        self._split: dict[int, Split | None] = {}
        self._of_sample: dict[int, int] = {}
        self._of_media: dict[int, set[int]] = {}
        self._new_members: dict[int, int] = {}
        self._given: set[int] = set()
        """Groups that were given their split by a sample that is bound to it."""

    def load(self, sample_keys: Iterable[int], media_keys: Iterable[int]) -> None:
        """Read the groups of these samples, and of all samples with these media."""
        for some in batches(sample_keys):
            rows = self._connection.execute(
                select(GroupMemberRow.sample_key, GroupRow.key, GroupRow.split)
                .join(GroupRow, GroupRow.key == GroupMemberRow.group_key)
                .where(GroupMemberRow.sample_key.in_(some))
            )
            for sample_key, group, split in rows:
                self._of_sample[sample_key] = group
                self._split[group] = Split(split) if split else None
        for some in batches(media_keys):
            found = self._connection.execute(
                select(SampleMediaRow.media_key, GroupRow.key, GroupRow.split)
                .join(GroupMemberRow, GroupMemberRow.sample_key == SampleMediaRow.sample_key)
                .join(GroupRow, GroupRow.key == GroupMemberRow.group_key)
                .where(SampleMediaRow.media_key.in_(some))
                .distinct()
            )
            for media_key, group, split in found:
                self._of_media.setdefault(media_key, set()).add(group)
                self._split[group] = Split(split) if split else None

    def place(
        self,
        sample_key: int,
        media_keys: Iterable[int],
        near: Iterable[int],
        near_media: Iterable[int],
        bound: Split | None = None,
    ) -> None:
        """Put a sample into the group that the rules of `splits` give it.

        Args:
            media_keys: the sample's own media that show something.
            near: samples that are near to it.
            near_media: media that are near to one of its own.
            bound: the split that the sample must have, as if it were near to a group that was given it; where that
                cannot be, because it is near to a group of another split, it is withheld.
        """
        found = {self._now_in(self._of_sample[key]) for key in near if key in self._of_sample}
        found |= {self._now_in(group) for key in near_media for group in self._of_media.get(key, ())}
        groups = sorted(group for group in found if self._split[group] is not Split.WITHHELD)
        split = joined_split([bound, *(self._split[group] for group in groups)])
        if not groups or split is Split.WITHHELD:
            target = self._next
            self._next += 1
            self._split[target] = split
        else:
            target = next((group for group in groups if self._split[group] is not None), groups[0])
            self._joined |= dict.fromkeys(set(groups) - {target}, target)
            if self._split[target] is not split:
                self._split[target] = split
                self._given.add(target)
        self._of_sample[sample_key] = target
        self._new_members[sample_key] = target
        for key in media_keys:
            self._of_media.setdefault(key, set()).add(target)

    def _now_in(self, group: int) -> int:
        while group in self._joined:
            group = self._joined[group]
        return group

    def write(self) -> None:
        """Write new groups, new members and joins."""
        run = self._connection.execute
        members = [{"sample_key": key, "group_key": self._now_in(to)} for key, to in self._new_members.items()]
        fresh = sorted({row["group_key"] for row in members if row["group_key"] >= self._first_new})
        rows = [
            {
                "key": group,
                "split": split.value if (split := self._split[group]) else None,
                "assigned_at": self._now if split else None,
                "created_at": self._now,
            }
            for group in fresh
        ]
        if rows:
            run(insert(GroupRow), rows)
        for group in self._given:
            if group < self._first_new and (split := self._split[group]) is not None:
                given = {"split": split.value, "assigned_at": self._now}
                run(update(GroupRow).where(GroupRow.key == group, GroupRow.split.is_(None)).values(**given))
        for group in self._joined:
            if group < self._first_new:
                target = self._now_in(group)
                run(update(GroupMemberRow).where(GroupMemberRow.group_key == group).values(group_key=target))
                run(delete(GroupRow).where(GroupRow.key == group))
        if members:
            run(insert(GroupMemberRow), members)


def assign_splits(connection: Connection, sample_keys: Iterable[int], now: str) -> dict[int, Split]:
    """The split of each of these samples, given now to the groups that have none yet.

    Samples that the pass over near-duplicates has not reached are left out.
    """
    splits: dict[int, Split] = {}
    for some in batches(sample_keys):
        undecided = select(GroupMemberRow.group_key).where(GroupMemberRow.sample_key.in_(some))
        rows = connection.execute(
            select(GroupMemberRow.group_key, func.min(SampleRow.id))
            .join(SampleRow, SampleRow.key == GroupMemberRow.sample_key)
            .join(GroupRow, GroupRow.key == GroupMemberRow.group_key)
            .where(GroupMemberRow.group_key.in_(undecided), GroupRow.split.is_(None))
            .group_by(GroupMemberRow.group_key)
        ).all()
        for group, smallest in rows:
            split = draw_split([smallest])
            connection.execute(update(GroupRow).where(GroupRow.key == group).values(split=split.value, assigned_at=now))
        found = connection.execute(
            select(GroupMemberRow.sample_key, GroupRow.split)
            .join(GroupRow, GroupRow.key == GroupMemberRow.group_key)
            .where(GroupMemberRow.sample_key.in_(some))
        )
        splits |= {key: Split(split) for key, split in found if split is not None}
    return splits
