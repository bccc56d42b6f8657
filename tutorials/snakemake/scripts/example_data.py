"""Write two halves of the blood cells that come with scanpy, as counts per cell."""

import numpy as np
import scanpy as sc
from snakemake.script import snakemake

adata = sc.datasets.pbmc68k_reduced().raw.to_adata()  # log-normalized; scanpy keeps no counts
adata = sc.AnnData(adata.X.expm1(), obs=adata.obs[["bulk_labels"]], var=adata.var[[]])
adata.obs["bulk_labels"] = adata.obs["bulk_labels"].astype("category")
order = np.random.default_rng(0).permutation(adata.n_obs)
for path, cells in zip(snakemake.output, np.array_split(order, 2), strict=True):
    adata[np.sort(cells)].copy().write_h5ad(path)
