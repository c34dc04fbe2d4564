"""Measurements that print a table: `python -m bench.reading`, `.memory`, `.job_memory`, `.tiny_files`."""
