"""The seccomp filter that ends a process at its first network call, as bytes for the kernel.

The program is classic BPF over `struct seccomp_data` (https://docs.kernel.org/userspace-api/seccomp_filter.html).
"""

import platform
import struct

# Everything with which a process comes by a socket or uses one; io_uring, which opens sockets without the call
# `socket`; pidfd_getfd, which takes an open one from another process; and what makes another act in one's place.
_X86_64 = {
    "socket": 41,
    "connect": 42,
    "accept": 43,
    "sendto": 44,
    "recvfrom": 45,
    "sendmsg": 46,
    "recvmsg": 47,
    "shutdown": 48,
    "bind": 49,
    "listen": 50,
    "getsockname": 51,
    "getpeername": 52,
    "socketpair": 53,
    "setsockopt": 54,
    "getsockopt": 55,
    "ptrace": 101,
    "accept4": 288,
    "recvmmsg": 299,
    "sendmmsg": 307,
    "process_vm_writev": 311,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "pidfd_getfd": 438,
}
_AARCH64 = {
    "ptrace": 117,
    "socket": 198,
    "socketpair": 199,
    "bind": 200,
    "listen": 201,
    "accept": 202,
    "connect": 203,
    "getsockname": 204,
    "getpeername": 205,
    "sendto": 206,
    "recvfrom": 207,
    "setsockopt": 208,
    "getsockopt": 209,
    "shutdown": 210,
    "sendmsg": 211,
    "recvmsg": 212,
    "accept4": 242,
    "recvmmsg": 243,
    "sendmmsg": 269,
    "process_vm_writev": 271,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "pidfd_getfd": 438,
}
FORBIDDEN = {"x86_64": _X86_64, "aarch64": _AARCH64}
"""Numbers of the forbidden calls by machine, from the kernel's own tables (include/uapi/asm-generic/unistd.h)."""

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH of include/uapi/linux/audit.h; a call of another architecture has other numbers."""

_X32 = 0x40000000
"""From here on calls on x86_64 are those of the x32 interface, which has a socket of its own."""

_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_KILL, _ALLOW = 0x80000000, 0x7FFF0000
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4


def program(machine: str | None = None) -> bytes:
    """A filter after which the first forbidden call of any thread kills the process; empty where none is known.

    The kernel kills with SIGSYS, which no code in the process can catch: whoever lived made no such call.

    Args:
        machine: As `platform.machine()` names it; None: this one.
    """
    machine = machine or platform.machine()
    if machine not in FORBIDDEN:
        return b""
    numbers = sorted(FORBIDDEN[machine].values())
    steps: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        # Where the architecture is the right one, the next step is left out, which leads to the end that kills.
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    tests = [(_AT_LEAST, _X32), *((_EQUAL, number) for number in numbers)]
    # Every test that holds jumps over those after it and over the end that allows.
    steps += [(kind, len(tests) - place, 0, value) for place, (kind, value) in enumerate(tests)]
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _KILL)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
