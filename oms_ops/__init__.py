"""The transactional write path: orders, stock moves, payments. Knows no other room of the house."""
