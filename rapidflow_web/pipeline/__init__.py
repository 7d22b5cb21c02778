"""The pipeline language: parsing, validation, choice of an image. Pure: no input or output."""
