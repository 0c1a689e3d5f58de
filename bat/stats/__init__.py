"""Statistics of scores and of learning curves; numpy, scipy and nothing of the project.

- ``bootstrap``: R², MAE and MedAE with intervals of rows (by group), fits and seeds; differences;
- ``chance``, ``jackknife``, ``resampling``: what it rests on;
- ``families``: shapes of learning curves, fitted and chosen by what they predict;
- ``learning_curve``: what a learning curve supports: enough, forecast, back-test, or a refusal;
- ``hypotheses``: four working hypotheses about fine-tuning;
- ``stopping``: whether larger sizes can still change the answer;
- ``worth``: whether an arm is worth it, and with how many rows that could be told.
"""
