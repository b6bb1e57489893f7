"""Payment gateways: one small interface, a file for each, and the registry that opens them."""
