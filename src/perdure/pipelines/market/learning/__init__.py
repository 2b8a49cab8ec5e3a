"""Forward folds, the eight base models, and the meta-learner over them."""
