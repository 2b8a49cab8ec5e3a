"""`perdure prove`: does a killed and resumed run end with the bits of an uninterrupted one; if not, what differs first.

`proof` runs and compares, `subject` starts and kills processes in a `scratch` folder, `points` says where, `comparison`
and `values` find the first difference, `suspects` reads the script for its usual causes, `report` writes what people
open.
"""
