"""A benchmark from a file: runs, their combination, a threshold, a checked submission, and a page of numbers."""
