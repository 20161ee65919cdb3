"""The settings of the limits, a file a group; `risk.policy.Policy` holds them all.

To add a group: a file with a `Group` whose SECTION is its table in the configuration (``[risk.NAME]``) and whose KEYS
describe every key; a field of that name in `Policy` (below its plain keys); and the rules that read it in a file of
`risk.limits`. The configuration, `plimsoll risk explain` and the contract tests find it by that field.
"""
