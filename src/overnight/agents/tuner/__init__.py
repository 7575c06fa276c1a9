"""The built-in tuner: better constants, without a model."""
