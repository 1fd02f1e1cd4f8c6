"""The root of all tables and the names of their constraints.

Rows have short integer keys of their own; `id` is the name by which the rest of Guardroom knows a thing. Everything
that is said about a sample points at the sample's key and goes when the sample goes, so that a deletion is one
statement; every such pointer has an index, or a deletion would scan the table that holds it.
"""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import Double, MetaData
from sqlalchemy.orm import DeclarativeBase

from annotation_store.columns import AnyText

NAMES = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
}
"""Every constraint has a name, or later migrations could not address it."""


class Base(DeclarativeBase):
    """Root of the tables."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map: ClassVar = {str: AnyText, float: Double}
