"""Orders: capture, validation, routing, cancellation, backorders."""
