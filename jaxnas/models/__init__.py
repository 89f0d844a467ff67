"""Trained models: the selected network alone as a plain graph of layers, its predictions, files and exports."""
