"""The methods of blending by their names, apart from what they do: the command line need not wait for SciPy."""

from typing import Literal

Blend = Literal["poisson", "multiband", "feather"]
"""How a patch is made to meet the frame around it before it is mixed in under its mask.

poisson: by adding the membrane that makes it equal to the frame on its rectangle's border. multiband: by mixing each
octave of the luma under a mask as coarse as itself. feather: it is left as it is.
"""

DEFAULT_BLEND: Blend = "multiband"
"""It flickers least: docs/architecture.md has the figures."""
