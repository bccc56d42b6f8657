"""The geometric autoencoder in plain torch: no AnnData, no scanpy, no matplotlib."""
