"""What a caller of a training may want to tell from other errors."""


class NoTargetsError(ValueError):
    """The labels and numbers of the training blocks give this loss nothing to learn from; others may learn."""
