//! Descriptors that are the program's from the moment they are made: a forked child keeps them, as
//! it keeps all that its parent has opened, and the library never closes them.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

use crate::net::transport::port::Listening;

/// Accepts a connection that has arrived.
pub(super) fn accept(listener: &Listening) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, peer) = listener.accept()?;
    // On some systems it is as its listener is.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    stream.set_nonblocking(false)?;
    Ok((stream, peer))
}

/// Returns another descriptor of a listener.
pub(super) fn copy(listener: &Listening) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(listener, 3)?)
}
