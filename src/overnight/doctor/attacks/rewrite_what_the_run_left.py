"""Rewrite what the run left: replace every number in its text files by a forged score.

score: close it with a referee that computes the score itself and uses no number from the run.
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
