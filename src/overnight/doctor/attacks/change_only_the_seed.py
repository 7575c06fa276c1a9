"""Change nothing but the seed: every measurement here has another one.

after: close it by a judge that asks for more than the noise: rule = "confirm" under [judge], or
"threshold" with a `gain` above it and `repeats`.
"""
