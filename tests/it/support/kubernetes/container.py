"""container.py SPEC: becomes the command of a container, as a container runtime starts it.

SPEC is a JSON file: image (the image's root), folder (of this container's own), mounts [{source, path, readOnly}], readOnlyRoot,
uid, gid, groups, dropAll and noNewPrivileges (booleans), environment, arguments.
"""
import ctypes
import json
import os
import sys

NEW_MOUNTS, BIND, READ_ONLY, REMOUNT, RECURSIVE, PRIVATE = 0x20000, 4096, 1, 32, 16384, 1 << 18
DROP_FROM_BOUNDING_SET, SET_NO_NEW_PRIVS = 24, 38
DEVICES = ["null", "zero", "full", "random", "urandom"]

libc = ctypes.CDLL(None, use_errno=True)


def must(result, what):
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def mount(source, target, kind, flags, options=""):
    must(libc.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode()), f"mount {target}")


def bind(source, target, read_only=False):
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        open(target, "a").close()
    mount(source, target, "", BIND)
    if read_only:
        mount("", target, "", BIND | REMOUNT | READ_ONLY)


def enter(spec):
    must(libc.unshare(NEW_MOUNTS), "unshare")
    mount("", "/", "", RECURSIVE | PRIVATE)
    # The mount points that the image lacks are made in a layer above it, as a runtime does.
    layer, root = (os.path.join(spec["folder"], name) for name in ("layer", "root"))
    os.makedirs(layer, exist_ok=True)
    os.makedirs(root, exist_ok=True)
    mount("tmpfs", layer, "tmpfs", 0)
    for name in ("upper", "work"):
        os.mkdir(os.path.join(layer, name), 0o755)
    mount("overlay", root, "overlay", 0, f"lowerdir={spec['image']},upperdir={layer}/upper,workdir={layer}/work")
    os.makedirs(root + "/dev", exist_ok=True)
    mount("tmpfs", root + "/dev", "tmpfs", 0)
    for name in DEVICES:
        bind("/dev/" + name, f"{root}/dev/{name}")
    os.makedirs(root + "/proc", exist_ok=True)
    mount("proc", root + "/proc", "proc", 0)
    bind("/etc/hosts", root + "/etc/hosts", read_only=True)
    for volume in spec["mounts"]:
        bind(volume["source"], root + volume["path"], volume["readOnly"])
    if spec["readOnlyRoot"]:
        mount("", root, "", REMOUNT | READ_ONLY)
    os.chroot(root)
    os.chdir("/")


def take_rights(spec):
    os.setgroups(spec["groups"])
    os.setgid(spec["gid"])
    if spec["dropAll"]:
        with open("/proc/sys/kernel/cap_last_cap") as last:
            for capability in range(int(last.read()) + 1):
                must(libc.prctl(DROP_FROM_BOUNDING_SET, capability, 0, 0, 0), "prctl")
    os.setuid(spec["uid"])
    if spec["noNewPrivileges"]:
        must(libc.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


with open(sys.argv[1]) as file:
    SPEC = json.load(file)
os.umask(0o022)
enter(SPEC)
take_rights(SPEC)
os.execve(SPEC["arguments"][0], SPEC["arguments"], SPEC["environment"])
