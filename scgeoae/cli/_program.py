"""The commands: their files, options and help."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import click

from . import BAD_INPUT
from ._options import FILE, NAMES, OUTPUT, PROGRAM, REPLACING, option, options_of
from ._paths import CELLS, MODEL, PAGES, TABLES, check_input, check_output

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path


class Command(click.Command):
    """A command that reads and writes files; the function of its name in ``_commands.COMMANDS`` does the work.

    Parameters
    ----------
    name
        Name of the command.
    inputs, output
        What the help calls the files, and the suffixes of each input. Without `output`, the output is only an option.
    suffixes
        Those of the output; none if it is a directory.
    options, training
        Its options, in two sections of the help.
    help, examples, results
        What the command does, words that may follow its name, and what the reported numbers mean.
    several
        Whether the command takes several inputs if the output is given as an option.
    """

    def __init__(
        self,
        name: str,
        inputs: Mapping[str, Collection[str]],
        output: str,
        suffixes: Collection[str],
        options: Sequence[click.Option],
        training: Sequence[click.Option] = (),
        *,
        help: str,
        examples: Sequence[str],
        results: Mapping[str, str] | None = None,
        several: bool = False,
    ) -> None:
        self.inputs, self.output, self.suffixes, self.several = inputs, output, suffixes, several
        self.sections = {"Options": options, "Training (rarely set)": training, "Program": PROGRAM}
        self.results, self.examples = results or {}, examples
        files = click.Argument(["files"], nargs=-1, type=FILE, metavar=" ".join([*inputs, output]))
        super().__init__(name, params=[files, *options, *training, *PROGRAM], help=help)

    def invoke(self, ctx: click.Context) -> None:
        """Tell the inputs from the output and run the command with the options that were given."""
        files, output, debug = (ctx.params.pop(name) for name in ("files", "output", "debug"))
        overwrite = ctx.params.pop("overwrite", False)
        inputs = list(files)
        any_number = self.several and inputs and output is not None
        if self.output and output is None and inputs:
            output = inputs.pop()
        if len(inputs) != len(self.inputs) and not any_number:
            names = " ".join(self.inputs) or "no file"
            form = f"{names} {self.output}, or {names}{'...' * self.several} --output PATH"
            msg = f"{self.name} takes {form if self.output else f'{names} [--output PATH]'}; given: "
            msg += f"{' '.join(map(str, files)) or 'nothing'}."
            if self.inputs and len(files) > len(self.inputs) + bool(self.output):
                msg += " Join several values of one option by commas."
            raise click.UsageError(msg, ctx)
        default = click.core.ParameterSource.DEFAULT
        given = {name: value for name, value in ctx.params.items() if ctx.get_parameter_source(name) is not default}
        try:
            self._check(inputs, output, ctx.params.get("other"), overwrite=overwrite)
            from ._run import run  # torch and scanpy take seconds to import

            run(str(self.name), inputs, output, **given)
        except Exception:
            if debug:
                traceback.print_exc()
            raise

    def _check(self, inputs: Sequence[Path], output: Path | None, other: Path | None, *, overwrite: bool) -> None:
        """Raise an error if an input is missing or the output cannot be written."""
        kinds = list(self.inputs.values())
        for number, path in enumerate(inputs):  # of several inputs, all are alike
            check_input(path, kinds[min(number, len(kinds) - 1)])
        if other is not None:
            check_input(other)
        if output is not None:
            check_output(output, inputs, self.suffixes, overwrite=overwrite)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the options in sections."""
        for title, options in self.sections.items():
            if records := [record for each in options if (record := each.get_help_record(ctx))]:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Explain the results and show examples."""
        if self.results:
            with formatter.section("Results"):
                formatter.write_dl(list(self.results.items()))
        with formatter.section("Examples"):
            formatter.write_text("\b\n" + "\n".join(f"{ctx.command_path} {words}" for words in self.examples))


DATA = {
    "use_rep": "Key of obsm to train on, or 'X'. By default the PCA.",
    "n_pcs": "Use only the first columns of the obsm.",
    "layer": "Train on this layer instead.",
    "mask_var": "Boolean column of var: the genes to train on, with --use_rep X or --layer.",
}
HIDDEN_DIMS = "Widths of the encoder's hidden layers."
VALIDATION_FRACTION = "Share of cells held out of training."
RNG = "Seed. Equal seeds give equal results."
DEVICE = "'cpu', 'cuda' or 'mps'. By default the first available of cuda, mps, cpu."
RESULTS = {
    "reconstruction": "Share of the variance of the data that the map does not explain.",
    "log_det_variance": "Variance of the log determinant; 0 if the map preserves areas.",
    "det_p95_p5": "95th over 5th percentile of the determinant; 1 if the map preserves areas.",
    "anisotropy": "Median ratio of largest to smallest stretching; 1 if the map preserves angles.",
    "unit": "Distance in the data of one unit of the map.",
}
"""Numbers that ``train`` and ``fit-decoder`` report."""

TRAIN = Command(
    "train",
    {"INPUT": CELLS},
    "OUTPUT",
    CELLS,
    options_of(
        "tl._geometric_ae.geometric_ae",
        **DATA,
        n_components="Number of dimensions of the map.",
        alpha="Weight of the regularizer: how much equal areas count.",
        key_added="Store the result under this name instead of 'geoae'.",
        rng=RNG,
        device=DEVICE,
    )
    + REPLACING,
    options_of(
        "tl._geometric_ae.geometric_ae",
        init="'random' weights, or 'pca': begin as the plot of the first components.",
        regularizer="area, isometry, conformal, or weights. Default: '{area: 1, conformal: 0.3}'.",
        contrast_weight="Weight of the contrast, which keeps neighbors.",
        distance_weight="Weight of the distances of random pairs, which arranges far groups.",
        landmarks="obsm with places near which cells should stay, NaN for free cells.",
        landmark_weight="Weight of the landmarks.",
        noise="Noise on the input, relative to its standard deviation. Default: by the data.",
        hidden_dims=HIDDEN_DIMS,
        n_steps="Number of optimizer steps. Default: by held-out cells, at most 1,200.",
        batch_size="Cells per step. Default: 2 % of the cells, 256 to 2,048.",
        learning_rate="Peak learning rate.",
        validation_fraction=VALIDATION_FRACTION,
        patience="Stop after this many validations, of 25 steps each, without a lower loss. Default: never.",
    ),
    help="""Train a map of the cells and write it with them.

    Several inputs with --output are joined: by their common genes, or by an obsm that was computed for all of them
    together.""",
    examples=[
        "cells.h5ad map.h5ad                                  # after sc.pp.pca",
        "cells.h5ad map.h5ad --alpha 0.5 --hidden_dims 64,64",
        "cells.h5ad map.h5ad --regularizer '{area: 1, isometry: 0.5}'",
        "a.h5ad b.h5ad --output map.h5ad --use_rep X          # on their common genes",
    ],
    results=RESULTS,
    several=True,
)

MAP = Command(
    "map",
    {"QUERY": CELLS, "REFERENCE": (*CELLS, MODEL)},
    "OUTPUT",
    CELLS,
    options_of(
        "tl._map_cells.map_cells",
        key="Name of the result in the reference and in the output. Default: geoae.",
        obs="Labels in obs of the reference to transfer, by a vote of 15 neighbors, to KEY_LABEL in obs of the output.",
    )
    + REPLACING,
    help="""Put new cells on the map of a reference.

    The reference is an output of scgeoae train or fit-decoder, or a model file (.safetensors). Cells that it does not
    explain are flagged in obs.""",
    examples=[
        "new.h5ad map.h5ad new_map.h5ad --obs cell_type,tissue",
        "new.h5ad blood.safetensors new_map.h5ad",
        "new.h5ad umap.h5ad new_umap.h5ad --key geoae_umap",
    ],
    results={
        "cells_outside": "Number of cells that the reference does not explain.",
        "share_outside": "Share of these cells.",
        "cells_novel": "Number of cells with unusual genes, if the reference contains its PCA.",
    },
)

FIT_DECODER = Command(
    "fit-decoder",
    {"INPUT": CELLS},
    "OUTPUT",
    CELLS,
    options_of(
        "tl._fit_decoder.fit_decoder",
        basis="The map: a key of obsm, with or without X_.",
        **DATA,
        weight_decay="Smoothness: 0 for the closest fit, 1 for the smoothest.",
        key_added="Store the result under this name instead of 'geoae_' and the basis.",
        rng=RNG,
        device=DEVICE,
    )
    + REPLACING,
    options_of(
        "tl._fit_decoder.fit_decoder",
        hidden_dims=HIDDEN_DIMS,
        n_steps="Number of optimizer steps.",
        batch_size="Cells per step.",
        learning_rate="Peak learning rate.",
        validation_fraction=VALIDATION_FRACTION,
        patience="Stop after this many validations, of 25 steps each, without a lower loss; or null.",
    ),
    help="""Fit a decoder and an encoder to a UMAP or another map.

    They show how the map distorts the data, and place new cells on it (scgeoae map). Choose the data that the map was
    made from.""",
    examples=["cells.h5ad umap.h5ad --basis umap"],
    results=RESULTS,
)

QUALITY = Command(
    "quality",
    {"INPUT": CELLS},
    "",
    TABLES,
    [
        option("--bases", NAMES, "The maps: keys of obsm, with or without X_. By default all of two dimensions."),
        *options_of(
            "metrics.quality.embedding_quality",
            use_rep="Key of obsm to compare with, or 'X'. By default the PCA.",
            n_pcs="Use only the first columns of the obsm.",
            layer="Compare with this layer instead.",
            labels="Column of classes in obs. Adds measures of how well a map separates them.",
            k="Number of neighbors.",
            max_cells="Sample this many of more cells, and add standard errors.",
            rng=RNG,
        ),
        option("--other", FILE, "Take the data to compare with from this file of the same cells."),
        option("-o --output", FILE, "Write the table to this file, .csv or .tsv."),
    ],
    help="Measure how well the maps in a file represent its data.",
    examples=["map.h5ad --bases pca,umap,geoae --labels cell_type --output quality.csv"],
)

PLOT = Command(
    "plot",
    {"INPUT": CELLS},
    "DIRECTORY",
    (),
    options_of(
        "cli._commands.plot",
        key="Name of the result to plot. By default all.",
        color="Column of obs, or gene, that colors the cells below the indicatrices.",
        dpi="Dots per inch.",
        format="'png', 'pdf', 'svg' or another format of matplotlib.",
    )
    + OUTPUT,
    help="""Plot the results in a file.

    Determinants, indicatrices, training history, areas of groups and measures by alpha, one picture each.""",
    examples=["map.h5ad pictures --color cell_type --format pdf"],
)

EXPLORE = Command(
    "explore",
    {"INPUT": CELLS},
    "PAGE",
    PAGES,
    options_of(
        "pl._explorer.explorer",
        key="Name of the result. Default: geoae.",
        color="Columns of obs, or genes, to color the cells by. Others are not written.",
        genes="Genes to include. By default 200 that tell groups apart or vary most over the map.",
        layer="Layer of the measured values.",
        use_raw="Read measured values from .raw, or never from there. Default: of genes that X lacks.",
        dimensions="The two dimensions to draw, of a map of more.",
        beside="Coordinates in obsm, such as spatial, for a second picture beside the map.",
        cell_names="Include the names of the cells, for files of selections.",
    )
    + OUTPUT,
    help="""Write an interactive page of a map.

    The page decodes the map where one points. It is one file (.html), without a network. It holds the coordinates of
    all cells, the named columns and the genes: mind this before you pass it on.""",
    examples=["map.h5ad page.html --color cell_type,n_counts", "map.h5ad umap.html --key geoae_umap --genes CD3D,NKG7"],
)

DEMO = Command(
    "demo",
    {},
    "",
    (),
    [option("-o --output", FILE, "The directory.", "scgeoae-demo")],
    help="""Map 700 blood cells that come with scanpy.

    Train an autoencoder with and without the regularizer, and write pictures and an .h5ad file to a directory.""",
    examples=["--output scgeoae-demo"],
)


class Program(click.Group):
    """The commands in the order of their use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of the commands, unsorted."""
        return list(self.commands)


@click.version_option(package_name="scgeoae", message="scgeoae %(version)s")
@click.group(
    cls=Program,
    commands={str(command.name): command for command in (TRAIN, MAP, FIT_DECODER, QUALITY, PLOT, EXPLORE, DEMO)},
    invoke_without_command=True,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "token_normalize_func": lambda word: word.replace("-", "_"),  # --n-steps is --n_steps
    },
)
@click.pass_context
def program(ctx: click.Context) -> None:
    """Area-preserving maps of single cells.

    AnnData files are read and written as .h5ad or .zarr, by their suffix; outputs are compressed as the input is.
    Results go to stdout, progress and errors to stderr. The exit status is 2 for invalid input and 130 after Ctrl-C;
    then nothing is written.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        ctx.exit(BAD_INPUT)
