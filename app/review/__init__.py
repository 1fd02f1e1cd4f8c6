"""The Review tab: the queue, the label form, stored samples, and the endpoints for the same."""
