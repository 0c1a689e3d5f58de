"""What people call: the study as a command and as a function, a predictor, an estimator."""
