"""The type checker of the tests: an int passes for a float, as PEP 484 has it."""

import beartype

check = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))
