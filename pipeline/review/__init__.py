"""The review of suspect labels: the page and its session."""
