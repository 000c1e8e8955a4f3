"""The baselines of the paper's section 3.1.4: stains told apart by colour, and pixel labels made from that."""
