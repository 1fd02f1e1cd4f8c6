"""The Moderate tab: what a person hands in, the verdict as it comes, and the endpoints for the same."""
