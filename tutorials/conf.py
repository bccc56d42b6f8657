"""Settings of Sphinx; `.ci/docs` builds the site."""

from __future__ import annotations

import re
from contextlib import chdir
from doctest import DocTestParser
from importlib.metadata import version as installed_version
from inspect import getdoc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import matplotlib.pyplot as plt
import numpy as np
import scanpy as sc
from docutils import nodes
from IPython.lib.lexers import IPython3Lexer
from PIL import Image

import scgeoae
from scgeoae.cli._program import program

if TYPE_CHECKING:
    from anndata import AnnData
    from sphinx.application import Sphinx

project = "scgeoae"
author = "the scgeoae developers"
project_copyright = f"2026, {author}"
release = version = installed_version(project)

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx_autodoc_typehints",  # after napoleon, as the next two
    "scanpydoc.definition_list_typed_field",
    "scanpydoc.elegant_typehints",
    "sphinx_copybutton",
    "sphinxcontrib.bibtex",
]
templates_path = ["_templates"]
exclude_patterns = ["**.ipynb_checkpoints", "snakemake"]
default_role = "literal"

# pages and notebooks
nb_execution_mode = "off"  # the site shows the outputs that the notebooks store
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

# docstrings
autosummary_ignore_module_all = False  # a page for each name in __all__
napoleon_google_docstring = False
typehints_defaults = "braces"
typehints_document_rtype_none = False
qualname_overrides = {
    "numpy.random._generator.Generator": "numpy.random.Generator",
    "scgeoae.explore._page.Explorer": "scgeoae.explore.Explorer",
}
suppress_warnings = ["config.cache"]  # the formatter of types, below, is a function

# links
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!scgeoae)\w+\..*"), ("py:class", ".*")]  # other packages; types without a page
bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "plain"
bibtex_reference_style = "author_year"
online = tags.has("online")  # noqa: F821
"""Links to other packages need files from their sites: `.ci/docs -t online`."""
intersphinx_mapping = {
    "anndata": ("https://anndata.readthedocs.io/en/stable/", None),
    "matplotlib": ("https://matplotlib.org/stable/", None),
    "numpy": ("https://numpy.org/doc/stable/", None),
    "pandas": ("https://pandas.pydata.org/docs/", None),
    "python": ("https://docs.python.org/3/", None),
    "scanpy": ("https://scanpy.readthedocs.io/en/stable/", None),
    "scipy": ("https://docs.scipy.org/doc/scipy/", None),
    "torch": ("https://docs.pytorch.org/docs/stable/", None),
}
if not online:
    intersphinx_mapping = {}

# appearance
html_theme = "sphinx_book_theme"
html_title = project
html_theme_options = {"navbar_persistent": [], "show_toc_level": 2}

HERE = Path(__file__).parent
sc.settings.autoshow = False  # figures are kept, not shown
API = HERE / "api"
"""Pages that are made from the package."""
PICTURES = API / "pictures"
"""What `pl` draws, a folder for each function, and the figures of the gallery."""
PICTURES.mkdir(parents=True, exist_ok=True)
html_static_path = ["_static", str(PICTURES)]
html_css_files = ["site.css"]

PAGE = 800
"""Width of the text in pixels, about."""

LINKS = {
    "](tutorials/": "](",
    "](tests/benchmarks/README.md": "](benchmarks.md",
    "](.github/CONTRIBUTING.md": "](contributing.md",
}
"""Links in the README and the other pages from outside this folder, and where they lead here."""


def draw_gallery() -> AnnData:
    """Run the code of the gallery, keep each figure where the page shows it, and return the cells with all results."""
    page = HERE / "gallery.md"
    names: dict[str, Any] = {}
    with chdir(HERE):
        for code, picture in re.findall(r"```python\n(.*?)```(?:\n+!\[.*?\]\((.*?)\))?", page.read_text(), re.DOTALL):
            exec(code, names)
            if picture:
                keep(Path(picture))
    return names["adata"]


def draw_examples(adata: AnnData) -> None:
    """Draw what the example of each function of `pl` ends with, of the maps of the gallery; keep the figure or page."""
    adata.obs["bulk_labels"] = adata.obs["cell_type"]  # as the examples name them
    adata.obs["n_genes"] = np.ravel((adata.X > 0).sum(1))
    scgeoae.tl.cluster_areas(adata, "bulk_labels")
    scgeoae.tl.cluster_distances(adata, "bulk_labels", key="geoae_umap")
    scgeoae.tl.alpha_path(adata, [0, 0.01, 0.1, 0.2, 1])
    scgeoae.tl.verdict(adata, "umap")
    table = scgeoae.metrics.embedding_quality(adata, ["pca", "umap", "geoae"], labels="bulk_labels")
    for name in scgeoae.pl.__all__:
        folder = PICTURES / f"scgeoae.pl.{name}"
        folder.mkdir(exist_ok=True)
        with chdir(folder):
            example = DocTestParser().get_examples(getdoc(getattr(scgeoae.pl, name)))
            (call,) = (line.source for line in example if f"scgeoae.pl.{name}(" in line.source)
            exec(call, {"scgeoae": scgeoae, "adata": adata, "table": table})
            if plt.get_fignums():
                keep(Path("figure.png"))


def keep(picture: Path) -> None:
    """Save the figure and close it."""
    picture.parent.mkdir(exist_ok=True)
    plt.savefig(picture, dpi=120, bbox_inches="tight")
    plt.close("all")


def draw(_: Sphinx) -> None:
    """Draw all pictures, of the same trainings."""
    draw_examples(draw_gallery())


def write_help(_: Sphinx) -> None:
    """Write the help of all commands, for the page of the command line."""
    parent = click.Context(program, info_name="scgeoae")
    with (API / "commands.txt").open("w") as file:
        for name, command in program.commands.items():
            text = command.get_help(click.Context(command, parent, info_name=name))
            file.write(f"## scgeoae {name}\n\n```text\n{text}\n```\n\n")


def show_example(_app: Sphinx, _what: str, name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """Add to the page of a function what it draws."""
    for path in sorted((PICTURES / name).glob("*.*")):
        if path.suffix == ".png":
            lines += ["", f".. image:: /api/pictures/{name}/{path.name}"]
        elif path.suffix == ".html":
            lines += [
                "",
                ".. raw:: html",
                "",
                f'    <iframe src="../_static/{name}/{path.name}" width="100%" height="700"></iframe>',
            ]


def enlarge(_app: Sphinx, page: nodes.document) -> None:
    """Let a picture that is wider than the page lead to itself in its own size."""
    for node in page.findall(nodes.image):
        file = HERE / node["uri"]
        if file.suffix == ".png" and file.exists() and Image.open(file).width > PAGE:
            node["width"] = "100%"  # a scaled picture gets a link


def adapt_links(_app: Sphinx, _path: Path, _page: str, content: list[str]) -> None:
    """Let links of an included page lead to pages of the site."""
    for there, here in LINKS.items():
        content[0] = content[0].replace(there, here)


def setup(app: Sphinx) -> None:
    """Connect the functions above; let code of notebooks contain shell commands; shorten the types of arrays."""
    app.add_lexer("python", IPython3Lexer)
    app.connect("builder-inited", draw)
    app.connect("builder-inited", write_help)
    app.connect("autodoc-process-docstring", show_example, priority=999)  # after all other changes
    app.connect("include-read", adapt_links)
    app.connect("doctree-read", enlarge)

    others = app.config.typehints_formatter

    def formatter(annotation: Any, config: Any) -> str | None:
        if "_NestedSequence" in repr(annotation):  # what numpy can convert, as a long union
            return ":data:`~numpy.typing.ArrayLike`"
        return others(annotation, config)

    app.config.typehints_formatter = formatter
