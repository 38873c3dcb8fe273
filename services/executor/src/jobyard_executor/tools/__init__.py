"""The tools that this executor can run, and how they are found.

`catalogue.load` collects them: packs (Python packages with an entry point in the group `jobyard.tools`) and folders of
scripts with a `tool.toml` each. Every sub-package here is a pack that is shipped with the product.
"""
