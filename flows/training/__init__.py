"""How an expert is trained: portraits in, degraded pairs made on the fly, safetensors weights out.

Read in this order: ``portraits`` (which faces), ``degradation`` and ``codec`` (what happens to them),
``pairs`` (the stream of batches), ``losses``, ``validation``, ``checkpoint``, ``loop`` (all of it together).
"""
