"""Great Expectations suites that block whatever comes after them."""
