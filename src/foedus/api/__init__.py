"""What the command line and a notebook call; `import foedus` offers the notebook's part by name.

Nothing is imported here: processes that only carry bytes start from modules of this package, and have no use for torch.
"""
