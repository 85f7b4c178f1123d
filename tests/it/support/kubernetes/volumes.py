"""The volumes of a pod, as a kubelet makes and renews them."""
import base64
import os
import shutil
import tempfile


class NotMounted(Exception):
    """Why a volume cannot be mounted; it is tried again."""


def write(pod, options, read):
    """Makes the volumes of this pod, or renews their contents. `read` takes the kind, the namespace and the name of an object."""
    group = pod.spec["securityContext"].get("fsGroup", 0)
    for volume in pod.spec.get("volumes", []):
        folder = os.path.join(pod.folder, "volumes", volume["name"])
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        one = {kind: volume[kind] for kind in volume if kind != "name"}
        [(kind, source)] = one.items()
        if kind in ("configMap", "secret", "projected"):
            os.makedirs(folder, exist_ok=True)
            files = {}
            for part in source["sources"] if kind == "projected" else [one]:
                files.update(contents(part, pod.namespace, read))
            replace(folder, files, source["defaultMode"], group)
        elif kind == "emptyDir":
            os.makedirs(folder, exist_ok=True)
            own(folder, group)
        elif kind == "persistentVolumeClaim":
            link(claimed(pod, source["claimName"], group, read), folder)
        elif kind == "csi":
            driver, _, sockets = options.csi.partition("=")
            if source["driver"] != driver:
                raise NotMounted(f"driver name {source['driver']} not found in the list of registered CSI drivers")
            link(os.path.join(sockets, pod.namespace, pod.spec["serviceAccountName"]), folder)
        else:
            raise NotMounted(f"not done here: {volume}")


def link(target, folder):
    if not os.path.isdir(target):
        raise NotMounted(f"there is no {target}")
    if not os.path.islink(folder):
        os.symlink(target, folder)


def claimed(pod, name, group, read):
    """The folder of the volume that is bound to this claim. Its files go to the group if its own folder does not belong to it
    yet (fsGroupChangePolicy OnRootMismatch)."""
    if pod.spec["securityContext"].get("fsGroupChangePolicy") != "OnRootMismatch":
        raise NotMounted("not done here: another fsGroupChangePolicy")
    claim = read("persistentvolumeclaims", pod.namespace, name)
    path = read("persistentvolumes", None, claim["spec"]["volumeName"])["spec"]["local"]["path"]
    found = os.stat(path)
    if found.st_gid != group or found.st_mode & 0o2070 != 0o2070:
        for folder, _, files in os.walk(path):
            own(folder, group)
            for file in files:
                file = os.path.join(folder, file)
                os.chown(file, -1, group)
                os.chmod(file, os.stat(file).st_mode | 0o660)
    return path


def own(folder, group):
    os.chown(folder, -1, group)
    os.chmod(folder, 0o2777)


def contents(source, namespace, read):
    """The files of a ConfigMap or a Secret: their bytes by path."""
    if len(source) != 1 or not set(source) <= {"configMap", "secret"}:
        raise NotMounted(f"not done here: {source}")
    [(kind, which)] = source.items()
    name = which.get("secretName") or which["name"]
    try:
        found = read("secrets" if kind == "secret" else "configmaps", namespace, name)
    except Exception as error:
        raise NotMounted(f'{kind} "{name}": {error}') from error
    data = found.get("data", {})
    data = {key: base64.b64decode(value) if kind == "secret" else value.encode() for key, value in data.items()}
    items = which.get("items", [{"key": key, "path": key} for key in data])
    for item in items:
        if item["key"] not in data:
            raise NotMounted(f'references non-existent {kind} key: {name}, {item["key"]}')
    return {item["path"]: data[item["key"]] for item in items}


def replace(folder, files, mode, group):
    """Writes the files into a folder of their own, and then lets the link ..data name it, so that all change at once."""
    data = os.path.join(folder, "..data")
    old = os.path.realpath(data) if os.path.islink(data) else None
    if old and found(old) == files:
        return
    fresh = tempfile.mkdtemp(prefix="..", dir=folder)
    for path, content in files.items():
        path = os.path.join(fresh, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        os.chown(path, 0, group)
        os.chmod(path, mode | 0o440)
    for directory, _, _ in os.walk(fresh):
        os.chown(directory, 0, group)
        os.chmod(directory, 0o2755)
    os.symlink(os.path.basename(fresh), data + "_tmp")
    os.rename(data + "_tmp", data)
    for top in {path.split("/")[0] for path in files}:
        if not os.path.islink(os.path.join(folder, top)):
            os.symlink("..data/" + top, os.path.join(folder, top))
    if old:
        shutil.rmtree(old)


def found(folder):
    """The files below a folder: their bytes by path."""
    files = {}
    for directory, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(directory, name)
            with open(path, "rb") as file:
                files[os.path.relpath(path, folder)] = file.read()
    return files
