"""Change nothing but the seed: every measurement here has another one.

after: close it with a judge that asks for more than the noise: `gain` and `repeats` under [judge].
"""
