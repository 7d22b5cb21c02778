"""What schemathesis loads as its hooks: ids that it makes up are made those of things that are there."""

from __future__ import annotations

from typing import Any

import schemathesis

MADE_BEFORE = 4
"""Of everything, so many were made before the requests."""
OWN = 3
"""The number of the user who asks, and of the token."""


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Valid ids become small ones; what is no id stays as it is."""
    for name, value in (case.path_parameters or {}).items():
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**63:
            case.path_parameters[name] = 1 + value % MADE_BEFORE
        if name in ("user_id", "token_id") and str(case.path_parameters[name]) == str(OWN):
            # It would take the rights away with which the rest is asked.
            case.path_parameters[name] = OWN - 1
