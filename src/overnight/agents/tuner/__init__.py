"""The built-in tuner: it finds better constants, without a model."""
