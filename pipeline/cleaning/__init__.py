"""Which labels are suspect."""
