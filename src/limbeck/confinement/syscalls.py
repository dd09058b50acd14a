"""The few calls to the kernel that confined code may make; all others fail with "not permitted".

A filter of the kernel's own (seccomp, https://www.kernel.org/doc/html/latest/userspace-api/seccomp_filter.html): an
instruction is a code of 16 bits, two jumps of 8 and an operand of 32. What is left is memory, time, chance and what was
open before. No file is opened or looked at, no socket made, no process or thread begun, no signal sent, no group left.
The numbers are those of the kernel's tables for x86-64 and for ARM64.
"""

import ctypes
import platform
import struct

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_ALLOWED = {
    # read write close fstat poll lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask rt_sigreturn select
    # sched_yield mremap madvise nanosleep getpid exit uname getcwd gettimeofday getrusage sysinfo times getuid getgid
    # geteuid getegid getppid sigaltstack gettid time futex sched_getaffinity restart_syscall clock_gettime clock_getres
    # clock_nanosleep exit_group set_robust_list getrandom rseq
    "x86_64": (
        "0 1 3 5 7 8 9 10 11 12 13 14 15 23 24 25 28 35 39 60 63 79 96 98 99 100 102 104 107 108 110 131 186 201 202 "
        "204 219 228 229 230 231 273 318 334"
    ),
    # getcwd close lseek read write pselect6 ppoll fstat exit exit_group futex set_robust_list nanosleep clock_gettime
    # clock_getres clock_nanosleep sched_getaffinity sched_yield restart_syscall sigaltstack rt_sigaction rt_sigprocmask
    # rt_sigreturn times uname getrusage gettimeofday getpid getppid getuid geteuid getgid getegid gettid sysinfo brk
    # munmap mremap mmap mprotect madvise getrandom rseq
    "aarch64": (
        "17 57 62 63 64 72 73 80 93 94 98 99 101 113 114 115 123 124 128 132 134 135 139 153 160 165 169 172 173 174 "
        "175 176 177 178 179 214 215 216 222 226 233 278 293"
    ),
}
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_NUMBER, _ARCHITECTURE = 0, 4  # where they stand in what the filter is shown


def program(machine: str) -> bytes:
    """The filter for a machine, as `platform.machine()` calls it.

    Raises:
        KeyError: When its table of calls is not known.
    """
    architecture, allowed = _ARCHITECTURES[machine], [int(number) for number in _ALLOWED[machine].split()]
    lines = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, _NUMBER)]
    for place, number in enumerate(allowed):
        lines.append((_EQUAL, len(allowed) - place, 0, number))
    lines += [(_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def restrict() -> bool:
    """Lets this process make no other calls from now on; False where the kernel or the machine cannot do that."""
    if platform.system() != "Linux" or platform.machine() not in _ALLOWED:
        return False

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("lines", ctypes.c_void_p))

    said = program(platform.machine())
    lines = ctypes.create_string_buffer(said, len(said))
    filter_ = Program(len(said) // 8, ctypes.addressof(lines))
    library = ctypes.CDLL(None)
    if library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        return False
    return bool(library.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(filter_), 0, 0) == 0)
