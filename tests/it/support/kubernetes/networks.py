"""The networks of pods, and how a Service is reached: all pods in one network, or each in one of its own."""
import itertools
import random
import socket
import subprocess
import threading

GATEWAY, BRIDGE = "10.244.0.1", "pods"


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def names(name, namespace):
    """The names by which pods find a Service, or one of its endpoints."""
    short = f"{name}.{namespace}"
    return [short, short + ".svc", short + ".svc.cluster.local"]


class Shared:
    """All pods share the network that this process is in, and every Service is at 127.0.0.1."""

    def join(self, pod):
        """The address that a pod reports, the one that it is reached at, and what its commands begin with."""
        return GATEWAY, "127.0.0.1", []

    def leave(self, pod):
        pass

    def hosts(self, services, slices):
        """The lines of /etc/hosts."""
        found = [name for service in services for name in names(service["metadata"]["name"], service["metadata"]["namespace"])]
        return ["127.0.0.1 " + " ".join(["localhost"] + found)]


class Apart:
    """Each pod has a network of its own, behind a bridge. A connection to the address of a Service goes to one of its ready endpoints,
    to each in turn, as kube-proxy does it."""

    def __init__(self):
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "address", "add", GATEWAY + "/16", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
        self.numbers = itertools.count(2)
        self.holders = {}
        # By address and port of a Service: the ready endpoints, and what listens there.
        self.endpoints, self.listening = {}, {}

    def join(self, pod):
        number = next(self.numbers)
        address, link = f"10.244.{number // 256}.{number % 256}", f"pod{number}"
        # The network lives as long as this process, which ends with its input.
        holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec cat"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert holder.stdout.readline() == b"up\n"
        self.holders[pod.uid] = holder
        enter = ["nsenter", f"--net=/proc/{holder.pid}/ns/net", "--"]
        run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
        run("ip", "link", "set", link, "master", BRIDGE, "up")
        run(*enter, "ip", "address", "add", address + "/16", "dev", "eth0")
        run(*enter, "ip", "link", "set", "eth0", "up")
        run(*enter, "ip", "route", "add", "default", "via", GATEWAY)
        return address, address, enter

    def leave(self, pod):
        holder = self.holders.pop(pod.uid)
        holder.stdin.close()
        holder.wait()

    def hosts(self, services, slices):
        lines, endpoints = ["127.0.0.1 localhost"], {}
        for service in services:
            name, namespace, spec = service["metadata"]["name"], service["metadata"]["namespace"], service["spec"]
            own = [found for found in slices if found["metadata"]["namespace"] == namespace
                   and found["metadata"].get("labels", {}).get("kubernetes.io/service-name") == name]
            if spec.get("clusterIP") == "None":
                lines += self.headless(name, namespace, own)
                continue
            lines.append(" ".join([spec["clusterIP"]] + names(name, namespace)))
            for port in spec["ports"]:
                endpoints[spec["clusterIP"], port["port"]] = list(ready(own, port.get("name")))
        self.endpoints = endpoints
        for at in endpoints:
            if at not in self.listening:
                self.listening[at] = self.listen(*at)
        return lines

    @staticmethod
    def headless(name, namespace, slices):
        """The names of a Service without an address of its own: those of its endpoints that have a hostname."""
        for found in slices:
            for endpoint in found["endpoints"] or []:
                if "hostname" in endpoint:
                    yield " ".join([endpoint["addresses"][0]] + names(f"{endpoint['hostname']}.{name}", namespace))

    def listen(self, address, port):
        held = subprocess.run(["ip", "-o", "address", "show", "dev", BRIDGE], check=True, capture_output=True, text=True).stdout
        if f" {address}/" not in held:
            run("ip", "address", "add", address + "/32", "dev", BRIDGE)
        listener = socket.create_server((address, port), backlog=128)
        threading.Thread(target=self.accept, args=(listener, (address, port)), daemon=True).start()
        return listener

    def accept(self, listener, at):
        turns = itertools.count(random.randrange(1000))
        while True:
            client, _ = listener.accept()
            found = self.endpoints.get(at, [])
            chosen = found[next(turns) % len(found)] if found else None
            threading.Thread(target=self.forward, args=(client, chosen), daemon=True).start()

    @staticmethod
    def forward(client, chosen):
        """Joins a connection with one to this endpoint; without one it is closed."""
        try:
            server = socket.create_connection(chosen, timeout=5) if chosen else None
        except OSError:
            server = None
        if server is None:
            client.close()
            return
        server.settimeout(None)
        back = threading.Thread(target=pump, args=(server, client), daemon=True)
        back.start()
        pump(client, server)
        back.join()
        client.close()
        server.close()


def ready(slices, port_name):
    """The addresses and ports of ready endpoints."""
    for found in slices:
        ports = [port["port"] for port in found["ports"] or [] if port.get("name", "") == (port_name or "")]
        for endpoint in found["endpoints"] or []:
            if ports and endpoint["conditions"].get("ready", True):
                yield endpoint["addresses"][0], ports[0]


def pump(source, target):
    """Copies what one side sends, and then its end."""
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for side in (source, target):
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
