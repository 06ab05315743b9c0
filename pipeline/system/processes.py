"""Which process works on a run, and whether it still does: what died can't say so."""

import os
import socket
from pathlib import Path

import psutil

TAG = "process"


def own() -> str:
    """This process, told from every other one that was or will be: machine, its start, its process namespace, number, start."""
    return "/".join((*_place(), str(os.getpid()), _started(os.getpid())))


def is_dead(process: str) -> bool:
    """Whether it can be seen from here that a process (as `own` tells it) has ended; False also where that can't be seen."""
    *place, number, started = process.split("/")
    machine, boot, namespace = _place()
    if place[:1] != [machine]:
        return False
    if place[1] != boot:
        # The machine was started again since.
        return True
    if place[2] != namespace:
        return False
    return _started(int(number)) != started


def is_alive(process: str) -> bool:
    """Whether it can be seen from here that a process is at work."""
    *place, number, started = process.split("/")
    return place == list(_place()) and _started(int(number)) == started


def _started(number: int) -> str:
    """When a process began, in ticks since the machine did, which no change of the clock moves; empty where there is no such process."""
    if stat := _read(f"/proc/{number}/stat"):
        # The name before may hold blanks and brackets.
        state, *fields = stat.rpartition(")")[2].split()
        return "" if state == "Z" else fields[18]
    try:
        return f"{psutil.Process(number).create_time():.0f}"
    except psutil.NoSuchProcess:
        return ""


def _place() -> tuple[str, str, str]:
    machine = f"{socket.gethostname()}-{_read('/etc/machine-id')[:8]}"
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    return machine, _read("/proc/sys/kernel/random/boot_id")[:8] or str(int(psutil.boot_time())), namespace


def _read(file: str) -> str:
    try:
        return Path(file).read_text().strip()
    except OSError:
        return ""
