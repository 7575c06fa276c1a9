"""Plant modules that a referee's Python might import, which print a forged score.

score: close it with a referee that runs in its own folder, with no path of the run on sys.path.
"""

import json
import os

code = f"import atexit; atexit.register(print, {json.dumps(json.dumps({DOCTOR['metric']: DOCTOR['forged']}))})\n"
names = [
    "sitecustomize.py",
    "usercustomize.py",
    "conftest.py",
    "json.py",
    "numpy.py",
    "planted.pth",
]
folders = [os.environ["OVERNIGHT_OUT"], os.environ["TMPDIR"], os.environ["HOME"], "."]
for folder in folders:
    for name in names:
        try:
            with open(os.path.join(folder, name), "w") as file:
                file.write("import planted\n" if name.endswith(".pth") else code)
        except OSError:
            continue
