"""Networks, and what is stored of them."""
