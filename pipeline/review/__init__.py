"""Review of suspected labels: a local page, a sheet, and the agreement of two reviewers."""
