"""Compat: the dialects that others speak, each in files of its own, on our sessions."""
