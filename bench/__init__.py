"""Measurements that print a table: `python -m bench.reading`, `bench.memory`, `bench.tiny_files`."""
