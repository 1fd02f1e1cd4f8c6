"""The Evaluate tab: evaluations, reports, comparisons, promotion, and the endpoints for the same."""
