"""Principal components and a t-SNE of the reference."""

import anndata as ad
import scanpy as sc
from snakemake.script import snakemake

sc.settings.n_jobs = snakemake.threads
adata = ad.read_h5ad(snakemake.input[0])
sc.pp.pca(adata, n_comps=snakemake.params.n_pcs)
sc.tl.tsne(adata, use_rep="X_pca")
adata.write_h5ad(snakemake.output[0])
