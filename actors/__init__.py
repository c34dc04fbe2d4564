"""What the pools do: detection, tracking, quality, routing, the experts, background, blending, identity."""
