"""Pure rules. Nothing here knows the database.

reasons      why a sample is hard: from a verdict to reasons, and their default weights
drafts       can this label be right (`core.conclusion`: does its reasoning conclude the opposite)
names        can this name stand beside what a person did
"""
