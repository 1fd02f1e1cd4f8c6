"""Figures over scored rows, two checkpoints compared, and the gate of promotion."""
