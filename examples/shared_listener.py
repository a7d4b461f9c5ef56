#!/usr/bin/env python3
"""A server in Python that shares its port with other instances, whatever they are written in.

    PARES_LIBRARY=target/release/libpares.so python3 examples/shared_listener.py 21000 8080

Start it several times. It ends when standard input ends, or after `pares drain`.
"""

import ctypes
import os
import selectors
import socket
import sys
from ctypes import byref, c_char_p, c_int, c_uint16, c_uint32, c_uint64, c_void_p

DEADLINE, END = 8, 34

lib = ctypes.CDLL(os.environ.get("PARES_LIBRARY", "libpares.so.0.1"))
lib.pares_last_error.restype = c_char_p
lib.pares_config_port.argtypes = [c_void_p, c_uint16]
lib.pares_listen.argtypes = [
    *(c_void_p, c_char_p, c_uint16, c_int),
    *(c_uint32, c_uint32, c_uint64, c_void_p),
]
lib.pares_listener_accept.argtypes = [c_void_p, c_uint64, c_void_p]


def check(result):
    if result != 0:
        raise OSError(lib.pares_last_error().decode())


def main(group_port, port):
    config, instance, listener = c_void_p(), c_void_p(), c_void_p()
    descriptor, client = c_int(), c_int()
    check(lib.pares_config_new(b"shared-python", byref(config)))
    check(lib.pares_config_port(config, int(group_port)))
    check(lib.pares_join(config, byref(instance)))
    check(lib.pares_config_free(config))
    address = f"127.0.0.1:{port}".encode()
    check(lib.pares_listen(instance, address, 0, 0, 0, 0, 60000, byref(listener)))
    check(lib.pares_listener_fd(listener, byref(descriptor)))
    print("accepts", flush=True)

    selector = selectors.DefaultSelector()
    selector.register(descriptor.value, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    while True:
        ready = [key.fileobj for key, _ in selector.select()]
        result = lib.pares_listener_accept(listener, 0, byref(client))
        if result == 0:
            with socket.socket(fileno=client.value) as connection:
                connection.sendall(f"answered by {os.getpid()}\n".encode())
        elif result == END or (sys.stdin in ready and not sys.stdin.readline()):
            break
        elif result != DEADLINE:
            check(result)
    check(lib.pares_listener_free(listener))
    check(lib.pares_leave(instance))
    print("left", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
