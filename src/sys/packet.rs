//! Sockets for whole frames: neither std, rustix nor socket2 has their addresses.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

/// Binds a packet socket to a device, and to frames of a kind: those that come in it receives,
/// those that it sends leave there. Waits for some milliseconds.
pub(crate) fn bind_to_device(socket: impl AsFd, device: u32, kind: u16) -> io::Result<()> {
    // SAFETY: a struct of numbers, for which zeros are valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = kind.to_be();
    address.sll_ifindex = device as i32;
    let number = socket.as_fd().as_raw_fd();
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address lives across the call, and has this length.
    match unsafe { libc::bind(number, (&raw const address).cast(), length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
