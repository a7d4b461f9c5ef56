//! Makes the listener that all will share.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};

use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

use crate::error::ListenError;
use crate::net::procs::port_holder;
use crate::net::transport::port::Listening;
use crate::sys::{Booked, Kind};

/// Binds and listens; the first instance at an address does this once for all.
pub(super) fn make(address: SocketAddr, backlog: u32) -> io::Result<Listening> {
    let domain = Domain::for_address(address);
    let socket = Booked::make(Kind::Shared, || Socket::new(domain, Type::STREAM, None))?;
    if address.is_ipv6() {
        // Whether IPv4 comes, too, must not depend on a setting of the machine.
        socket.set_only_v6(true)?;
    }
    // Without it a restart would have to wait until the last connections are forgotten. Never
    // SO_REUSEPORT: that makes a queue for each.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    // Whether it blocks is up to those who accept, and the same for all of them.
    Ok(socket.become_a())
}

/// Says why it could not be made.
pub(super) fn explain(address: SocketAddr, error: io::Error) -> ListenError {
    match Errno::from_io_error(&error) {
        Some(Errno::ADDRINUSE) => {
            let holder = match address {
                SocketAddr::V4(address) => port_holder::of(address),
                // Whoever has all of IPv6 is found by way of IPv4.
                SocketAddr::V6(address) => {
                    port_holder::of(SocketAddrV4::new([0, 0, 0, 0].into(), address.port()))
                }
            };
            ListenError::InUse { address, holder: holder.unwrap_or_default() }
        }
        Some(Errno::ACCESS | Errno::PERM) => ListenError::Forbidden { address },
        Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT) => ListenError::NotHere { address },
        _ => ListenError::Io { doing: "listen", source: error },
    }
}

/// Returns true if another socket has the address: perhaps that of a survivor, which is yet to
/// come.
pub(super) fn is_in_use(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::ADDRINUSE)
}
