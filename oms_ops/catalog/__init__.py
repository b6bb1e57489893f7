"""SKUs, prices, and the suppliers' terms for them."""
