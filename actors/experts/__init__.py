"""The experts: networks that make a face crop four times larger and clearer.

Expert-T (``transformer``) is for small or blurred faces, Expert-F (``frequency``) for sharper ones. Both are
loaded from safetensors by :func:`load_expert` and used through :class:`Expert`.
"""

from actors.experts.expert import EXPERT_SCALE, SMALLEST_SIDE, Expert, ExpertName, load_expert
from weights import WeightsError

__all__ = ["EXPERT_SCALE", "SMALLEST_SIDE", "Expert", "ExpertName", "WeightsError", "load_expert"]
