"""What ``facemill eval`` does: degrade known faces, restore them, and say how near to the original and how like the
person the results are, beside what anybody could use instead."""
