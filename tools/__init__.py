"""What is run from the repository: the supervisor of the demo, and helpers of the checks."""
