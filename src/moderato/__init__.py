"""moderato decides whether a picture may be shown, on the user's own machine.

import moderato

    moderator = moderato.load("demo")
    verdict = moderator.check("picture.png")
    verdict.action, verdict.reasons
"""

from moderato.assemble import load, load_head
from moderato.errors import CallerError, ModeratoError, OperatorError, Unscannable
from moderato.moderator import Moderator
from moderato.policy import Policy, read_policy
from moderato.types import Classification, Embedded, Reason, Source, Verdict

__all__ = [
    "CallerError",
    "Classification",
    "Embedded",
    "ModeratoError",
    "Moderator",
    "OperatorError",
    "Policy",
    "Reason",
    "Source",
    "Unscannable",
    "Verdict",
    "load",
    "load_head",
    "read_policy",
]
