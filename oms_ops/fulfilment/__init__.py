"""Pick, pack, ship and deliver what routing allocated."""
