"""What customers ask and what they think: tickets with their messages, ratings, feedback."""
