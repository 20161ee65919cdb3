"""Who asked, and why: what must be said before a halt may be lifted."""


def unnamed(operator: str, reason: str) -> str:
    """What is missing of a name and a reason, with what to do; empty = nothing.

    A blank, a dash or a full stop is neither: something that can be read back must stand there.
    """
    missing = [
        what for what, said in (("a named operator", operator), ("a reason", reason)) if not any(map(str.isalnum, said))
    ]
    if not missing:
        return ""
    return f"lifting halts needs {' and '.join(missing)}: say who you are and why it is safe to go on"
