"""Dishonest candidates: programs that `overnight doctor` runs in an arena's sandbox, one per file.

A docstring's first paragraph says what is tried. Its last paragraph says how to close the hole,
after a keyword for how the doctor recognises success:

- `score:` runs after the arena's command and before its referee; the score is the forged one.
- `before:`, `after:` inserted before or after the code of every editable Python file; the arena's
  judge keeps the candidate.
- `late:` still running after its budget, or it leaves a process.
- `report:` or no keyword: its own report counts.
- `again:` run twice; its own report counts.
- `network:` its own report counts; an arena may allow it.

An attack finds what it needs in DOCTOR and reports with through(what) and refused(what).
"""
