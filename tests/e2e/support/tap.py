"""A tap in a namespace, held as KubeVirt or a VPN holds it: the holder is the other end of its link."""

import fcntl
import os
import select
import struct
from concurrent.futures import ThreadPoolExecutor

from .cni import enter_network

# linux/if_tun.h
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
MAX_FRAME_BYTES = 2048
READ_DEADLINE_S = 60
# RFC 826 on Ethernet, with IPv4.
ARP = struct.Struct("!6s6sH HHBBH 6s4s6s4s")
ETHERTYPE_ARP, REQUEST, REPLY = 0x0806, 1, 2


class Tap:
    """A context manager."""

    def __init__(self, namespace, name, mac):
        """namespace: a path. mac: of the holder's end."""
        self._mac = bytes.fromhex(mac.replace(":", ""))
        with ThreadPoolExecutor(max_workers=1) as pool:  # the namespace is the thread's
            self._fd = pool.submit(self._open, namespace, name).result()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self._fd)

    def answer_a_request(self, address):
        """Waits until somebody asks who has this address, and answers. Who has asked: its MAC."""
        wanted = bytes(int(part) for part in address.split("."))
        while select.select([self._fd], [], [], READ_DEADLINE_S)[0]:
            frame = os.read(self._fd, MAX_FRAME_BYTES)
            if len(frame) < ARP.size:
                continue
            _, _, ethertype, *kinds, operation, mac, sender, _, asked = ARP.unpack(frame[:ARP.size])
            if (ethertype, operation, asked) == (ETHERTYPE_ARP, REQUEST, wanted):
                os.write(self._fd, ARP.pack(mac, self._mac, ETHERTYPE_ARP, *kinds, REPLY,
                                            self._mac, wanted, mac, sender))
                return mac.hex(":")
        raise TimeoutError(f"nobody has asked for {address}")

    @staticmethod
    def _open(namespace, name):
        enter_network(namespace)
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
        return fd
