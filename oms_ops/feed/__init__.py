"""The change log that triggers fill, and the reader that hands it out exactly once."""
