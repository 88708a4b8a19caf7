"""Everything a TorchServe worker runs; it travels whole in every model archive.

A request flows one way: bytes → sentence pairs → encoded pairs → probabilities → answers.
"""
