"""Stop every clock that a program can ask.

after: close it by a clock in the referee's process.
"""

import time

for name in ("time", "time_ns", "perf_counter", "perf_counter_ns", "monotonic", "process_time"):
    setattr(time, name, lambda: 0)
