"""Folders of pair files on many machines: one fragment of the input becomes one file of the output."""
