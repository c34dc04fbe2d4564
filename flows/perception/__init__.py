"""Networks that look at a restored face the way people do: how alike two pictures seem, and whether it is the same
person. Training learns from them and evaluation measures with them; restoring needs none of them."""
