"""Benchmarks: ``python -m tests.benchmarks``. Ratios count, because they hold on other machines."""
