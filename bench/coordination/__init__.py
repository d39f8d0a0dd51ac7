"""Coordination: claims, completions and creations, beside bare SQL on the same machine.

What a process under measurement carries out is in `work` (through `PlanStore`) and in `bare`
(without it), on databases that `supply` fills. `rates` measures, in `turns`; `figures` shows what
was found beside what is to be reached.
"""
