"""Rewrite what the run left: every number in its text files becomes the forged one.

score: close it by a referee that computes the score from answers and believes no claim of the run.
"""

import os
import re

NUMBER = rb"(?<![\w.])-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w.])"

for folder, _, names in os.walk(os.environ["OVERNIGHT_OUT"]):
    for name in names:
        path = os.path.join(folder, name)
        with open(path, "rb") as file:
            claim = file.read(1_000_000)
        if b"\0" not in claim:
            with open(path, "wb") as file:
                file.write(re.sub(NUMBER, str(DOCTOR["forged"]).encode(), claim))
