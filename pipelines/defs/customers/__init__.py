"""The value of customers: who is still one, and what to expect of her."""
