#!/usr/bin/env python3
"""An instance in Python, through the C interface. It prints events, answers calls, and leaves when
standard input ends.

    PARES_LIBRARY=target/release/libpares.so python3 examples/embed.py clara 21000
"""

import ctypes
import os
import select
import sys
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint16, c_uint64, c_void_p

FOR_EVER = 2**64 - 1
END = 34


class Event(ctypes.Structure):
    """`pares_event`, up to the last field that is used here: more may follow."""

    _fields_ = [
        ("kind", c_int),
        ("cause", c_int),
        *((name, c_uint64) for name in "monotonic_ns term members".split()),
        *((name, c_uint64) for name in "permit units in_use limit missed".split()),
        *((name, c_char_p) for name in "name resource key value".split()),
        ("value_bytes", c_size_t),
        ("topic", c_char_p),
        ("payload", c_void_p),
        ("payload_bytes", c_size_t),
    ]


FUNCTION = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_size_t, c_void_p)

lib = ctypes.CDLL(os.environ.get("PARES_LIBRARY", "libpares.so.0.1"))
for function in ("last_error", "result_name", "event_kind_name"):
    getattr(lib, "pares_" + function).restype = c_char_p
lib.pares_config_port.argtypes = [c_void_p, c_uint16]
lib.pares_config_function.argtypes = [c_void_p, c_char_p, c_char_p, FUNCTION, c_void_p, c_void_p]
lib.pares_reply_set.argtypes = [c_void_p, c_char_p, c_size_t]
lib.pares_events_next.argtypes = [c_void_p, c_uint64, POINTER(POINTER(Event))]
lib.pares_setting_set.argtypes = [c_void_p, c_char_p, c_char_p, c_uint64]


class Failed(Exception):
    """A failure that the library reported; `result` is its number."""

    def __init__(self, result):
        name = lib.pares_result_name(result).decode()
        super().__init__(f"{name}: {lib.pares_last_error().decode()}")
        self.result = result


def check(result):
    if result != 0:
        raise Failed(result)


def shout(reply, payload, size, _user):
    """An admin function. It runs on a thread of the library, which Python allows."""
    text = ctypes.string_at(payload, size).upper()
    lib.pares_reply_set(reply, text, len(text))


def say(*words):
    print(*words, flush=True)


def take_events(events):
    """Prints the pending events. Returns False once no more will come."""
    while True:
        event = POINTER(Event)()
        result = lib.pares_events_next(events, 0, ctypes.byref(event))
        if result != 0:
            return result != END
        it = event.contents
        word = lib.pares_event_kind_name(it.kind).decode()
        if word == "setting":
            value = it.value.decode() if it.value is not None else None
            say("event:", word, it.key.decode(), value)
        elif word == "message":
            payload = ctypes.string_at(it.payload, it.payload_bytes).decode()
            say("event:", word, it.name.decode(), it.topic.decode(), payload)
        else:
            say("event:", word)
        lib.pares_free(event)


def main(name, port):
    config, instance, events, descriptor = c_void_p(), c_void_p(), c_void_p(), c_int()
    callback = FUNCTION(shout)  # kept here as long as the library may call it
    check(lib.pares_config_new(b"embed", ctypes.byref(config)))
    check(lib.pares_config_name(config, name.encode()))
    check(lib.pares_config_port(config, int(port)))
    check(lib.pares_config_function(config, b"shout", b"says it louder", callback, None, None))
    check(lib.pares_join(config, ctypes.byref(instance)))
    check(lib.pares_config_free(config))
    check(lib.pares_events_open(instance, ctypes.byref(events)))
    check(lib.pares_events_descriptor(events, ctypes.byref(descriptor)))
    check(lib.pares_setting_set(instance, b"greeting", b"hello from Python", 2000))
    going = True
    while going:
        ready, _, _ = select.select([sys.stdin, descriptor.value], [], [])
        if descriptor.value in ready:
            going = take_events(events)
        if sys.stdin in ready and not sys.stdin.buffer.raw.read(1024):
            break
    check(lib.pares_leave(instance))
    check(lib.pares_events_close(events))
    say("left")


if __name__ == "__main__":
    main(*sys.argv[1:])
