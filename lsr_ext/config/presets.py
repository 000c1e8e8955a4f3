"""The paper's two experiments as starting points of a configuration."""

# The paper's learning rates (0.5 for IHC; 1e-6 and 1e-3 for breast cancer) belong to CNTK, whose RMSprop scales
# its steps differently. torch.optim.RMSprop with the paper's decay, alpha = 0.9, trains at 1e-3.
_RMSPROP = {"name": "RMSprop", "params": {"lr": 1e-3, "alpha": 0.9}}

PRESETS: dict[str, dict] = {
    # Section 3.1: blocks of 400 px at 10x, two groups of ten, single instances in tens.
    "ihc": {
        "data": {"block_size_px": 400},
        "training": {
            "group_size": 10,
            "groups_per_batch": 2,
            "ungrouped_batch_size": 10,
            "optimizer": _RMSPROP,
        },
    },
    # Section 3.2: blocks of 240 px at 2.4x, two groups of fifteen, single instances in thirties, Table 1;
    # scores within 240 px of the true boundaries.
    "brca": {
        "data": {"block_size_px": 240, "distribution": "table1", "foreground": "cancer"},
        "training": {
            "group_size": 15,
            "groups_per_batch": 2,
            "ungrouped_batch_size": 30,
            "optimizer": _RMSPROP,
        },
        "evaluation": {"boundary_distance_px": 240},
    },
}
