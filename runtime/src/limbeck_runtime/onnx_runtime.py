"""ONNX Runtime, kept from reporting to its maker, which its wheels do from 1.29 on unless told otherwise as they start.

https://github.com/microsoft/onnxruntime/blob/main/docs/Privacy.md, "Disabling Telemetry": with
`ORT_DISABLE_TELEMETRY=1` no uploader, event, identifier or cache of events is made for the life of the
process; the import takes that choice.
"""

import os

_OFF = "ORT_DISABLE_TELEMETRY"

_before = os.environ.get(_OFF)
os.environ[_OFF] = "1"
try:
    import onnxruntime
finally:
    # What others read in the environment is theirs; the choice stands.
    if _before is None:
        del os.environ[_OFF]
    else:
        os.environ[_OFF] = _before

# Where somebody imported it earlier, this still stops what it would say of sessions.
onnxruntime.disable_telemetry_events()

__all__ = ["onnxruntime"]
