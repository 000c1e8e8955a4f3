"""Prediction by a trained network: windows, symmetries, decoding and stitching."""
