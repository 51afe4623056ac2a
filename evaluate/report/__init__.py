"""report.html, metrics.json and the tables."""
