"""One file a revision, numbered in order. A revision that was released is never edited."""
