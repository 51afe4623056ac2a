"""Train the two nets, run them over photos, export weights."""
