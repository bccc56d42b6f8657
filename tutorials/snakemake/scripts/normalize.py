"""Normalize all cells to the same number of counts and take the logarithm."""

import anndata as ad
import scanpy as sc
from snakemake.script import snakemake

adata = ad.read_h5ad(snakemake.input[0])
sc.pp.normalize_total(adata, target_sum=1e4)
sc.pp.log1p(adata)
adata.write_h5ad(snakemake.output[0])
