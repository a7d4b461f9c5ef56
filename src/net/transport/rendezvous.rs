//! A Unix socket under a name that only those know who have been told it: where descriptors can be
//! handed over.
//!
//! On Linux the name is an abstract one: it is in no directory, belongs to the network namespace
//! as the supervisor port does, and is gone with the process. Elsewhere it is a file in the
//! group's directory.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SocketAddrUnix, bind, connect, listen};
use socket2::{Domain, Socket, Type};

use super::port::{Listening, Stream};
use crate::sys::{Booked, Kind};
use crate::wire::DeskName;

/// How many may wait to be accepted.
const BACKLOG: i32 = 1024;

/// How long whoever finds the queue full waits before the next attempt: the kernel tells nobody
/// that there is room again.
const PAUSE: Duration = Duration::from_millis(2);

/// Listens under a name that nobody has.
pub(crate) fn open(directory: &Path, name: DeskName) -> io::Result<Listening> {
    let socket = make()?;
    bind(&socket, &address(directory, name)?)?;
    listen(&socket, BACKLOG)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket.become_a::<TcpListener>())
}

/// Removes what is left of it when it is closed.
pub(crate) fn close(directory: &Path, name: DeskName) {
    if !cfg!(any(target_os = "linux", target_os = "android")) {
        _ = std::fs::remove_file(directory.join(file_name(name)));
    }
}

/// Connects to whoever listens under this name; `None` if nobody does, or nobody needs it any more.
/// While the queue there is full, it `pause`s between two attempts, which says whether to go on.
pub(crate) fn meet(
    directory: &Path,
    name: DeskName,
    deadline: Instant,
    mut pause: impl FnMut(Duration) -> bool,
) -> io::Result<Option<Stream>> {
    let socket = make()?;
    let address = address(directory, name)?;
    // A blocking connect would wait for ever at a process that is stopped.
    rustix::io::ioctl_fionbio(&socket, true)?;
    loop {
        match connect(&socket, &address) {
            Ok(()) => break,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if Instant::now() < deadline => {
                if !pause(PAUSE) {
                    return Ok(None);
                }
            }
            Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(Errno::CONNREFUSED | Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(Some(socket.become_a::<TcpStream>()))
}

fn make() -> io::Result<Booked<Socket>> {
    Booked::make(Kind::Peer, || Socket::new(Domain::UNIX, Type::STREAM, None))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn address(_: &Path, name: DeskName) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new_abstract_name(file_name(name).as_bytes())?)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn address(directory: &Path, name: DeskName) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(&directory.join(file_name(name)))?)
}

fn file_name(name: DeskName) -> String {
    let digits: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("pares.{digits}")
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::net::transport::port::accept;

    #[test]
    fn those_who_know_the_name_meet_there_and_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let listener = open(directory.path(), [7; 16]).unwrap();
        let soon = Instant::now() + Duration::from_secs(20);
        let meet = |name| meet(directory.path(), name, soon, |_| true).unwrap();
        assert!(meet([8; 16]).is_none());
        let one = meet([7; 16]).unwrap();
        let other = accept(&listener, Kind::Peer).unwrap();
        (&*one).write_all(b"x").unwrap();
        let mut byte = [0];
        (&*other).read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
        drop(listener);
        close(directory.path(), [7; 16]);
        assert!(meet([7; 16]).is_none());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
