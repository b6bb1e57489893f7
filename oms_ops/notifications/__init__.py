"""The outbox: messages that commit with the change they tell of, and leave afterwards."""
