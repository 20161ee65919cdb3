"""What is trained where nobody chooses. A file of its own, so that a configuration is read without numpy."""

ARCHITECTURES = ("ridge", "mlp", "autoencoder")
"""Names of files in `models.nets`."""
