"""How sphinx makes the site: `make docs`."""

import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # docs.generate

import anybit

logging.getLogger("onnx_ir").setLevel(logging.WARNING)  # sphinx shows what libraries log

project = "anybit"
author = "the anybit authors"
version = release = anybit.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "docs.generate.extension"]
exclude_patterns = ["generate"]
source_suffix = {".md": "markdown"}

html_theme = "furo"
html_title = "anybit"
html_static_path = ["static"]
html_css_files = ["anybit.css"]
html_show_sourcelink = False
html_copy_source = False

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
myst_links_external_new_tab = False

toc_object_entries = False  # the headings have the names already
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
nitpicky = True
suppress_warnings = ["ref.python"]  # fields of one name in several records: no link is right
