"""Change nothing but the seed, which is different in every measurement.

after: close it with a judge that asks for more than the noise: rule = "confirm" under [judge], or
"threshold" with `repeats` and a `gain` above the noise.
"""
