"""Finite networks on corrupted images: real data in, trained networks out.

`data` loads problems, `ensembles` trains networks on them; see `theory` for the laws
they are compared with. Modules are imported by name: `from ntk_corrupt import data`.
"""
