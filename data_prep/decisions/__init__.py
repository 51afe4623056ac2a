"""Reviewers' decisions: the ledger, and laying it over datasets."""
