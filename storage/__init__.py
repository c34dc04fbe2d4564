"""Where bytes live: finding sources, reading frames, writing segments, joining videos, keeping the record."""
