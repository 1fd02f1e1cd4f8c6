"""Which samples are hard: several sampled answers, and the rules over them."""
