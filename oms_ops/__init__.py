"""The transactional write path: orders, stock moves and payments. Knows no other room of the house."""
