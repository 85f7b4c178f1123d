"""A kubelet for the tests: runs the pods that the scheduler binds to its node as processes of this machine.

    kubelet.py --server URL --pki FOLDER --image ROOT --folder FOLDER [--renew SECONDS] [--csi DRIVER=FOLDER] [--apart]

Each container is a process in the image's root, with its volumes at the paths of its mounts, and the user, groups and
capabilities of the manifest (container.py). All pods share the network namespace that this process is in, or with --apart each has one
of its own, and the names of Services are in /etc/hosts (networks.py). Whatever a pod asks for that is not done here ends its start with an event, as a failed mount.
"""
import argparse
import datetime
import http.client
import http.server
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
import traceback
import urllib.parse

import networks
import volumes

NODE = "node"
LOG_PORT = 10250
MERGE = "application/strategic-merge-patch+json"

parser = argparse.ArgumentParser()
for required in ("--server", "--pki", "--image", "--folder"):
    parser.add_argument(required, required=True)
parser.add_argument("--renew", type=float, default=1.0)
parser.add_argument("--csi", default="")
parser.add_argument("--apart", action="store_true")
OPTIONS = parser.parse_args()
PORT = urllib.parse.urlparse(OPTIONS.server).port


def pki(name):
    return os.path.join(OPTIONS.pki, name)


TLS = ssl.create_default_context(cafile=pki("ca.pem"))
TLS.load_cert_chain(pki("admin.pem"), pki("admin-key.pem"))
connections = threading.local()


class ApiError(Exception):
    def __init__(self, code, text):
        super().__init__(f"{code} {text}")
        self.code = code


def api(method, path, body=None, kind="application/json"):
    """The answer of the API server. A connection that it has closed meanwhile is opened again."""
    for attempt in (1, 2):
        if not getattr(connections, "own", None):
            connections.own = http.client.HTTPSConnection("127.0.0.1", PORT, context=TLS, timeout=30)
        try:
            text = json.dumps(body) if body is not None else None
            connections.own.request(method, path, text, {"Content-Type": kind})
            answer = connections.own.getresponse()
            content = answer.read()
            break
        except (OSError, http.client.HTTPException):
            connections.own = None
            if attempt == 2:
                raise
    if answer.status >= 300:
        raise ApiError(answer.status, content.decode()[:500])
    return json.loads(content)


def read(kind, namespace, name):
    """An object; `namespace` is None where its kind has none."""
    return api("GET", f"/api/v1/namespaces/{namespace}/{kind}/{name}" if namespace else f"/api/v1/{kind}/{name}")


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Pod:
    def __init__(self, found):
        self.found = found
        self.spec, self.name = found["spec"], found["metadata"]["name"]
        self.namespace, self.uid = found["metadata"]["namespace"], found["metadata"]["uid"]
        self.path = f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"
        self.folder = os.path.join(OPTIONS.folder, "pods", self.uid)
        self.began, self.started = time.monotonic(), now()
        self.address, self.reached_at, self.enter = NETWORK.join(self)
        self.init, self.main = {}, {}
        self.process = {}
        self.ended = False

    # What it tells the API server.

    def event(self, reason, message):
        about = {"kind": "Pod", "namespace": self.namespace, "name": self.name, "uid": self.uid, "apiVersion": "v1"}
        api("POST", f"/api/v1/namespaces/{self.namespace}/events", {
            "metadata": {"generateName": self.name + ".", "namespace": self.namespace}, "involvedObject": about, "type": "Warning",
            "reason": reason, "message": message, "source": {"component": "kubelet"}, "firstTimestamp": now(), "lastTimestamp": now(), "count": 1})

    def status(self, phase, **more):
        ready = phase == "Running" and all(one["ready"] for one in self.main.values())
        initialized = phase != "Pending" or all(one["ready"] for one in self.init.values())
        conditions = {"Initialized": initialized, "ContainersReady": ready, "Ready": ready}
        body = {"phase": phase, "hostIP": "10.0.0.1", "podIP": self.address, "podIPs": [{"ip": self.address}], "startTime": self.started, **more,
                "conditions": [{"type": name, "status": str(value), "lastTransitionTime": now()} for name, value in conditions.items()],
                "initContainerStatuses": list(self.init.values()), "containerStatuses": list(self.main.values())}
        try:
            api("PATCH", self.path + "/status", {"metadata": {"uid": self.uid}, "status": body}, MERGE)
        except ApiError as error:
            if error.code not in (404, 409):
                raise

    @staticmethod
    def report(container, state, ready=False, restarts=0, last=None):
        return {"name": container["name"], "image": container["image"], "imageID": OPTIONS.image, "ready": ready, "restartCount": restarts,
                "started": "running" in state, "state": state, "lastState": last or {}}

    # Its containers.

    def launch(self, container):
        security = {**self.spec["securityContext"], **container.get("securityContext", {})}
        folder = os.path.join(self.folder, container["name"])
        os.makedirs(folder, exist_ok=True)
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOSTNAME": self.name}
        for variable in container.get("env", []):
            if "valueFrom" in variable:
                raise volumes.NotMounted(f"not done here: {variable}")
            environment[variable["name"]] = variable.get("value", "")
        mounts = []
        for mount in container.get("volumeMounts", []):
            if "subPath" in mount:
                raise volumes.NotMounted(f"not done here: {mount}")
            source = os.path.realpath(os.path.join(self.folder, "volumes", mount["name"]))
            mounts.append({"source": source, "path": mount["mountPath"], "readOnly": mount.get("readOnly", False)})
        group = security.get("runAsGroup", 0)
        spec = {"image": OPTIONS.image, "folder": folder, "mounts": mounts, "environment": environment,
                "readOnlyRoot": security.get("readOnlyRootFilesystem", False), "uid": security.get("runAsUser", 0), "gid": group,
                "groups": [security.get("fsGroup", group)], "dropAll": "ALL" in security.get("capabilities", {}).get("drop", []),
                "noNewPrivileges": not security.get("allowPrivilegeEscalation", True),
                "arguments": container["command"] + container.get("args", [])}
        with open(folder + ".json", "w") as file:
            json.dump(spec, file)
        with open(folder + ".log", "ab") as log:
            beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "container.py")
            process = subprocess.Popen(self.enter + [sys.executable, beside, folder + ".json"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.process[container["name"]] = process
        return process

    @staticmethod
    def terminated(process):
        code = process.returncode if process.returncode >= 0 else 128 - process.returncode
        return {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed", "finishedAt": now()}}

    def probed(self, container, kind):
        """Whether the probe succeeds; without a probe it does."""
        if kind not in container:
            return True
        get, limit = container[kind]["httpGet"], container[kind].get("timeoutSeconds", 1)
        port = next(port["containerPort"] for port in container["ports"] if get["port"] in (port["name"], port["containerPort"]))
        try:
            connection = http.client.HTTPConnection(self.reached_at, port, timeout=limit)
            connection.request("GET", get["path"])
            return 200 <= connection.getresponse().status < 400
        except (OSError, http.client.HTTPException):
            return False

    # Its life.

    def stopping(self):
        """The grace in seconds, if it is to stop."""
        limit = self.spec.get("activeDeadlineSeconds")
        if self.found is None:
            return 0
        if "deletionTimestamp" in self.found["metadata"]:
            return self.found["metadata"].get("deletionGracePeriodSeconds", 30)
        return 1 if limit and time.monotonic() - self.began > limit else None

    def stop(self):
        grace = self.stopping()
        for process in self.process.values():
            if process.poll() is None:
                process.terminate()
        until = time.monotonic() + grace
        for process in self.process.values():
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self.found is not None and "deletionTimestamp" not in self.found["metadata"]:
            self.status("Failed", reason="DeadlineExceeded", message="the pod was active for longer than its deadline")

    def wait(self, seconds):
        """Waits, and says whether it is to stop."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.stopping() is None:
            time.sleep(0.1)
        return self.stopping() is not None

    def mount(self):
        told = None
        while self.stopping() is None:
            try:
                volumes.write(self, OPTIONS, read)
                return
            except volumes.NotMounted as error:
                if str(error) != told:
                    told = str(error)
                    self.event("FailedMount", told)
                    self.status("Pending")
                self.wait(0.5)

    def initialize(self, container):
        """Runs an init container to its success; false where the pod is to stop or has failed."""
        restarts = 0
        while True:
            process = self.launch(container)
            self.init[container["name"]] = self.report(container, {"running": {"startedAt": now()}}, restarts=restarts)
            self.status("Pending")
            while process.poll() is None:
                if self.wait(0.1):
                    return False
            done = process.returncode == 0
            self.init[container["name"]] = self.report(container, self.terminated(process), done, restarts)
            if done:
                return True
            if self.spec["restartPolicy"] == "Never":
                self.status("Failed")
                return False
            self.status("Pending")
            restarts += 1
            if self.wait(min(2 ** restarts, 20)):
                return False

    def body(self):
        waiting = {"waiting": {"reason": "PodInitializing"}}
        self.main = {container["name"]: self.report(container, waiting) for container in self.spec["containers"]}
        self.mount()
        for container in self.spec.get("initContainers", []):
            if self.stopping() is not None or not self.initialize(container):
                return
        [container] = self.spec["containers"]
        restarts, last = 0, None
        while self.stopping() is None:
            process = self.launch(container)
            self.main[container["name"]] = self.report(container, {"running": {"startedAt": now()}}, "readinessProbe" not in container, restarts, last)
            self.status("Running")
            self.watch(container, process)
            if self.stopping() is not None:
                return
            last = self.terminated(process)
            if self.spec["restartPolicy"] == "Never" or (self.spec["restartPolicy"] == "OnFailure" and process.returncode == 0):
                self.main[container["name"]] = self.report(container, last, restarts=restarts)
                return self.status("Failed" if process.returncode else "Succeeded")
            restarts += 1
            self.main[container["name"]] = self.report(container, {"waiting": {"reason": "CrashLoopBackOff"}}, False, restarts, last)
            self.status("Running")
            self.wait(min(2 ** restarts, 20))
            self.mount()

    def watch(self, container, process):
        """Until the container ends: its probes, and the contents of its volumes."""
        started, failures = False, 0
        began = asked = renewed = time.monotonic()
        while process.poll() is None and not self.wait(0.2):
            if time.monotonic() - renewed > OPTIONS.renew:
                renewed = time.monotonic()
                try:
                    volumes.write(self, OPTIONS, read)
                except volumes.NotMounted as error:
                    self.event("FailedMount", str(error))
            if not started:
                started = self.probed(container, "startupProbe")
                if not started and time.monotonic() - began > self.patience(container["startupProbe"]):
                    process.kill()
            elif time.monotonic() - asked > container.get("livenessProbe", {}).get("periodSeconds", 10):
                asked = time.monotonic()
                failures = 0 if self.probed(container, "livenessProbe") else failures + 1
                if failures >= container.get("livenessProbe", {}).get("failureThreshold", 3):
                    process.kill()
            ready = started and self.probed(container, "readinessProbe")
            reported = self.main[container["name"]]
            if ready != reported["ready"]:
                reported["ready"] = ready
                self.status("Running")

    @staticmethod
    def patience(probe):
        return probe["periodSeconds"] * probe["failureThreshold"]

    def run(self):
        try:
            self.body()
            if self.stopping() is not None:
                self.stop()
        except Exception:
            traceback.print_exc()
        NETWORK.leave(self)
        self.ended = True


class Logs(http.server.BaseHTTPRequestHandler):
    """What the API server asks a kubelet for: /containerLogs/NAMESPACE/POD/CONTAINER."""

    def do_GET(self):
        _, namespace, name, container = urllib.parse.urlparse(self.path).path.strip("/").split("/")
        found = [pod for pod in PODS.values() if (pod.namespace, pod.name) == (namespace, name)]
        with open(os.path.join(found[-1].folder, container + ".log"), "rb") as log:
            content = log.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def serve_logs():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", LOG_PORT), Logs)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki("apiserver.pem"), pki("apiserver-key.pem"))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def register():
    labels = {"kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux"}
    api("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "labels": labels}})
    room = {"cpu": "8", "memory": "16Gi", "pods": "60"}
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "", "lastHeartbeatTime": now(), "lastTransitionTime": now()}
    api("PATCH", f"/api/v1/nodes/{NODE}/status", {"status": {
        "capacity": room, "allocatable": room, "conditions": [ready], "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": LOG_PORT}}}}, MERGE)


def name_services():
    """Writes every Service's names into /etc/hosts, in place: containers have it mounted."""
    services, slices = (api("GET", path)["items"] for path in ("/api/v1/services", "/apis/discovery.k8s.io/v1/endpointslices"))
    text = "\n".join(NETWORK.hosts(services, slices)) + "\n"
    with open("/etc/hosts", "r+") as hosts:
        if hosts.read() != text:
            hosts.seek(0)
            hosts.write(text)
            hosts.truncate()


def take_up():
    listed = {pod["metadata"]["uid"]: pod for pod in api("GET", f"/api/v1/pods?fieldSelector=spec.nodeName%3D{NODE}")["items"]}
    for uid, pod in PODS.items():
        pod.found = listed.get(uid)
        if pod.found and pod.ended and "deletionTimestamp" in pod.found["metadata"]:
            body = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": {"uid": uid}}
            try:
                api("DELETE", pod.path, body)
            except ApiError as error:
                if error.code not in (404, 409):
                    raise
    for uid, found in listed.items():
        if uid not in PODS:
            PODS[uid] = Pod(found)
            threading.Thread(target=PODS[uid].run, daemon=True).start()


PODS = {}
NETWORK = networks.Apart() if OPTIONS.apart else networks.Shared()
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
serve_logs()
register()
print("the node is registered", flush=True)
while True:
    name_services()
    take_up()
    time.sleep(0.2)
