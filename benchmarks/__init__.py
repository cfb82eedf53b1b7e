"""Timed runs of the real server. None of them belongs into a test run; docs/benchmarks.md has the figures."""
