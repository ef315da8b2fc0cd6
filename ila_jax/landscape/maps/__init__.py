"""Maps: two dimensions by t-SNE, PCA, or a network."""
