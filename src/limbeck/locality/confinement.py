"""The process in which an artifact is asked behind barriers; run by its path, with the standard library alone.

`python -I -S confinement.py JSON`: the barriers stand before anything else is imported. What it saw goes as lines of
JSON to what its standard output was; what runs later prints to nowhere.
"""

import ctypes
import ctypes.util
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_BYTES_A_STEP = 8
_NETWORK_MODULES = {"socket", "_socket", "ssl", "_ssl"}
_NETWORK = ("socket.", "http.client.", "ftplib.", "smtplib.", "urllib.")


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))


class Witness:
    """Writes down which files Python opens, and says at once when it asks for a network.

    Args:
        say: Where lines go.
    """

    def __init__(self, say: int) -> None:
        self._say = say
        self.opened: dict[str, None] = {}
        self.written: dict[str, None] = {}

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """What Python calls at each event that it audits."""
        if event == "open" and isinstance(arguments[0], str | bytes):
            self.opened[os.fsdecode(arguments[0])] = None
            if len(arguments) > 2 and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
                self.written[os.fsdecode(arguments[0])] = None
        elif event.startswith(_NETWORK):
            self.tell({"attempt": f"{event} {', '.join(map(repr, arguments[1:]))}"})

    def tell(self, said: dict[str, Any]) -> None:
        """One line, written before this returns: the next instruction may be the last."""
        os.write(self._say, json.dumps(said).encode() + b"\n")


def without_network() -> str:
    """Leaves this machine's network interfaces behind; why that was not allowed, or nothing."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "unshare"):
        return "this system has no network namespaces"
    # With a namespace of users anybody may; where those are forbidden, root still may without.
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 or libc.unshare(CLONE_NEWNET) == 0:
        return ""
    return f"the kernel refuses a network namespace: {os.strerror(ctypes.get_errno())}"


def without_sockets(program: bytes) -> str:
    """Puts the filter on this process and all it will start; why that was not allowed, or nothing."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not program:
        return f"no filter is known for {os.uname().machine if hasattr(os, 'uname') else sys.platform}"
    if not hasattr(libc, "prctl"):
        return "this system has no seccomp"
    steps = ctypes.create_string_buffer(program, len(program))
    asked = _Program(len(program) // _BYTES_A_STEP, ctypes.cast(steps, ctypes.c_void_p))
    zero = ctypes.c_ulong(0)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero):
        return f"the kernel refuses no_new_privs: {os.strerror(ctypes.get_errno())}"
    if libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), ctypes.byref(asked), zero, zero):
        return f"the kernel refuses a seccomp filter: {os.strerror(ctypes.get_errno())}"
    return ""


def interfaces() -> list[str]:
    """The network interfaces that this process sees, up or down."""
    table = Path("/proc/self/net/dev")
    if not table.is_file():
        return ["unknown"]
    return [line.partition(":")[0].strip() for line in table.read_text().splitlines()[2:]]


def addresses() -> int:
    """How many addresses of its own this process could be reached at; a loopback that is down has none."""
    table = Path("/proc/self/net/fib_trie")
    return table.read_text().count("/32 host LOCAL") if table.is_file() else -1


def sockets() -> list[str]:
    """Open files of this process that are sockets."""
    found = []
    for name in os.listdir("/proc/self/fd") if Path("/proc/self/fd").is_dir() else []:
        try:
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                found.append(name)
        except OSError:  # the one through which the folder was read
            continue
    return found


def mapped() -> list[str]:
    """Files that lie in the memory of this process."""
    table = Path("/proc/self/maps")
    if not table.is_file():
        return []
    fields = [line.split(maxsplit=5) for line in table.read_text().splitlines()]
    return sorted({each[5] for each in fields if len(each) == 6 and each[5].startswith("/")})


def filtered() -> list[int]:
    """The seccomp mode of each thread of this process; 2 is a filter."""
    found = []
    for status in Path("/proc/self/task").glob("*/status"):
        line = next((each for each in status.read_text().splitlines() if each.startswith("Seccomp:")), "")
        found.append(int(line.split()[1]) if line else -1)
    return found


def answered(folder: str, file: str) -> dict[str, Any]:
    """Opens an artifact with the runtime in a folder, and asks it; the runtime's refusals are said as such."""
    sys.path.append(folder)
    import numpy as np

    from limbeck_runtime.container import unsealed
    from limbeck_runtime.errors import RuntimeFault
    from limbeck_runtime.manifest import read
    from limbeck_runtime.predictor import array, load

    try:
        predictor, files = load(file), unsealed(file)
        golden = read(files).golden
        rows, known = array(golden.inputs, files), array(golden.outputs, files)
        off = float(np.abs(predictor.outputs(rows) - known).max())
        said = predictor(rows)
    except RuntimeFault as fault:
        return {"fault": [fault.problem, fault.expected, fault.remedy]}
    return {"answers": len(said), "difference": off, "tolerance": golden.tolerance}


def main(asked: dict[str, Any], say: int) -> None:
    """Raises the barriers, asks the artifact, and says what was seen.

    Args:
        asked: `folder` of the runtime, `file`, `program` of the filter in hexadecimal digits, and whether this is the
            `control`: a process that asks for a socket, to see whether the filter holds.
        say: Where lines go.
    """
    inherited = sockets()
    barriers = {"network": without_network()}
    witness = Witness(say)
    sys.addaudithook(witness)
    barriers["sockets"] = without_sockets(bytes.fromhex(asked["program"]))
    witness.tell({"barriers": barriers})
    if asked["control"]:
        witness.tell({"control": ctypes.CDLL(None, use_errno=True).socket(2, 1, 0)})
        return
    found = answered(asked["folder"], asked["file"])
    opened, written = sorted(witness.opened), sorted(witness.written)
    standard = sys.stdlib_module_names
    tops = {name.partition(".")[0]: module for name, module in list(sys.modules.items()) if module is not None}
    witness.tell(
        {
            "report": {
                **found,
                "opened": opened,
                "written": written,
                "mapped": mapped(),
                "strangers": sorted(name for name in tops if name not in standard and name != "__main__"),
                "network_modules": sorted(_NETWORK_MODULES & sys.modules.keys()),
                "sockets": sockets() + inherited,
                "interfaces": interfaces(),
                "addresses": addresses(),
                "filtered": filtered(),
            }
        }
    )


if __name__ == "__main__":
    _SAY = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    main(json.loads(sys.argv[1]), _SAY)
