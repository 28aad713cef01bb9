"""Free network ports of this machine."""

import contextlib
import random
import socket
from pathlib import Path


def free_ports(count: int) -> list[int]:
    """Ports on which nothing listens, below those that the kernel assigns to connections and to port 0.

    Programs that let the kernel choose a port cannot take one of them between this call and their use.
    """
    first_of_kernel = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    draw = random.SystemRandom()
    ports: list[int] = []
    with contextlib.ExitStack() as stack:
        while len(ports) < count:
            port = draw.randrange(10_000, max(first_of_kernel, 20_000))
            item = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                item.bind(("127.0.0.1", port))
                ports.append(port)
    return ports
