"""`python -m tests.zoo DIR`: write the zoo, for trying facemill on it."""

import sys
from pathlib import Path

from tests.zoo import ALL, write_zoo

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.zoo DIR")
    write_zoo(Path(sys.argv[1]))
    print(f"{len(ALL)} files in {sys.argv[1]}")
