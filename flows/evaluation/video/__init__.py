"""``facemill eval --video``: clips through the product's own stages: how steady and how true they come out."""
