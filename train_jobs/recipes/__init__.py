"""The constants of a training as data files: what each kind may say, checked and refused by name."""
