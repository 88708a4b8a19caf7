"""A checkpoint on its way to an archive: convert, check, export, quantize and gate, pack."""
