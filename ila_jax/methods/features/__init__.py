"""Methods that choose by the features of a sparse autoencoder."""
