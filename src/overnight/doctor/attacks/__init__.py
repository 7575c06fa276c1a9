"""Dishonest candidates: programs that `overnight doctor` runs in an arena's sandbox, a file each.

The docstring's first line says what is tried. Its last paragraph says how to close the hole, after
a word for how the doctor tells: `score:` the arena's own command and its referee run afterwards,
and the score must not be the forged one; `before:` and `after:` it stands before or after the own
code of every editable Python file, and the arena's judge must not keep it; `late:` it must have
been ended, with nothing left; `again:` it is run twice; `network:` an arena may allow it; `close`
without one: its own report. An attack finds what it needs in DOCTOR and reports with through(words)
and refused(words).
"""
