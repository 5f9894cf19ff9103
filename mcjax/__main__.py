"""``python -m mcjax`` lists the commands, which are in the package ``experiments``."""

import runpy

if __name__ == "__main__":
    runpy.run_module("experiments", run_name="__main__")
