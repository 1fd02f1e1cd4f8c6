"""Pieces of HTML that several tabs use: pure functions of values."""
