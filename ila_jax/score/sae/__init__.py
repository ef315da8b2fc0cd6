"""A sparse autoencoder of the base: its latents, and who has them."""
