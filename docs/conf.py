"""The site: ``sphinx-build -W --keep-going -j auto docs site`` runs the tutorials and writes it.

Open site/index.html: no server is needed, and no page loads anything from elsewhere.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "extensions"), str(HERE.parent)]
os.environ["PYTHONPATH"] = str(HERE.parent)  # tutorials import this checkout
import mcjax  # noqa: E402

project = "mcjax"
author = "the authors of mcjax"
version = release = mcjax.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_nb",
    "sphinx_copybutton",
    "flag_tables",
    "formulas",
    "named_tuples",
    "pages",
    "signatures",
    "tutorials",
]
exclude_patterns = ["conf.py", "extensions"]

# Docstrings: `name` is a reference where the name is documented, ``text`` is code.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # a lambda as it is written
autodoc_typehints = "signature"
python_maximum_signature_line_length = 88
napoleon_use_ivar = True
napoleon_attr_annotations = False
smartquotes = False  # --flag keeps its two hyphens
toc_object_entries_show_parents = "hide"

# Pages are Markdown. Tutorials are jupytext scripts; TUTORIALS=0 makes their pages without output.
myst_enable_extensions = ["dollarmath", "attrs_inline"]
myst_heading_anchors = 4
nb_custom_formats = {".py": "tutorials.notebook"}
nb_execution_mode = "off" if os.environ.get("TUTORIALS") == "0" else "force"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_output_stderr = "remove-warn"

html_theme = "furo"
html_static_path = ["assets"]
html_css_files = ["site.css"]
html_title = f"mcjax {version}"
html_math_renderer = "mathml"
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_show_search_summary = False  # pages opened from disk cannot fetch one another
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
