"""What schemathesis sends where our description says that a picture goes: real ones, broken ones, anything."""

from __future__ import annotations

import base64

import schemathesis
from hypothesis import strategies as st

from pictures import CAT, KNIFE
from servers import BROKEN, PNG

PICTURES = st.sampled_from([PNG, KNIFE, CAT, *(data for data, _ in BROKEN.values())]) | st.binary(max_size=200)

schemathesis.openapi.format("binary", PICTURES)
schemathesis.openapi.format("byte", PICTURES.map(lambda data: base64.b64encode(data).decode()))
