"""The shop's rules: one document, every version of it kept with who and when."""
