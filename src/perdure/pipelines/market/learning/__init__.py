"""Forward folds, the base models over them, and the meta-learner over those."""
