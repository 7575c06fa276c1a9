"""Take more memory than run.memory allows, up to 8 GB.

late: close it with run.memory; without it, a run may take 90 % of the machine's memory.
"""

limit, held, step = DOCTOR["memory"], [], 64_000_000
for _ in range(min(limit + 1_000_000_000, 8_000_000_000) // step):
    try:
        held.append(bytearray(b"x") * step)
    except MemoryError:
        refused(f"memory after {len(held) * step / 1e6:,.0f} MB")
        break
else:
    taken = f"{len(held) * step / 1e6:,.0f} MB could be held; the limit is {limit / 1e6:,.0f} MB"
    (through if len(held) * step > limit else refused)(taken)
