//! How many connections wait at a listener, which neither std nor rustix can tell.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What the kernel says of a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// So many connections wait; on systems that do not say how many, 1 stands for any number.
    Holds(u32),
    /// It does not listen: somebody who shares it has shut it down.
    Shut,
}

/// Looks at the queue of connections that nobody has accepted. Does not wait.
pub(crate) fn look(listener: BorrowedFd<'_>) -> io::Result<Queue> {
    kind::look(listener)
}

/// Fills in an option of a socket.
///
/// # Safety
///
/// `T` must be what the kernel writes for this option, valid for all bytes that it may write.
unsafe fn option<T>(socket: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut size = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes to `value`; what it leaves out is zero. That
    // this makes a `T` is the caller's word.
    unsafe {
        let result = libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            &raw mut size,
        );
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(value.assume_init())
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod kind {
    use super::*;

    /// TCP_LISTEN of `include/net/tcp_states.h`.
    const LISTEN: u8 = 10;

    /// The beginning of `struct tcp_info` (`include/uapi/linux/tcp.h`), of which the kernel writes
    /// as much as there is room for.
    #[repr(C)]
    struct TcpInfo {
        state: u8,
        flags: [u8; 7],
        timeouts_and_sizes: [u32; 4],
        unacked: u32,
    }

    pub(super) fn look(listener: BorrowedFd<'_>) -> io::Result<Queue> {
        // SAFETY: that is what the kernel writes; any numbers are valid.
        let info: TcpInfo = unsafe { option(listener, libc::IPPROTO_TCP, libc::TCP_INFO) }?;
        // `tcp_get_info`: of a listener, what is unacknowledged is its queue.
        Ok(if info.state == LISTEN { Queue::Holds(info.unacked) } else { Queue::Shut })
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod kind {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    pub(super) fn look(listener: BorrowedFd<'_>) -> io::Result<Queue> {
        // SAFETY: the kernel writes an int; any number is valid.
        let listens: i32 = unsafe { option(listener, libc::SOL_SOCKET, libc::SO_ACCEPTCONN) }?;
        if listens == 0 {
            return Ok(Queue::Shut);
        }
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let count = poll(&mut [PollFd::from_borrowed_fd(listener, PollFlags::IN)], Some(&at_once))?;
        Ok(Queue::Holds(count as u32))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn connections_that_nobody_has_accepted_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(look(listener.as_fd()).unwrap(), Queue::Holds(0));
        let at = listener.local_addr().unwrap();
        let waiting = [TcpStream::connect(at).unwrap(), TcpStream::connect(at).unwrap()];
        let two = if cfg!(any(target_os = "linux", target_os = "android")) { 2 } else { 1 };
        assert_eq!(look(listener.as_fd()).unwrap(), Queue::Holds(two));
        drop((listener.accept().unwrap(), listener.accept().unwrap(), waiting));
        assert_eq!(look(listener.as_fd()).unwrap(), Queue::Holds(0));
    }

    #[test]
    fn a_listener_that_somebody_has_shut_down_is_told_from_one_that_is_idle() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        socket2::SockRef::from(&listener).shutdown(std::net::Shutdown::Both).unwrap();
        assert_eq!(look(listener.as_fd()).unwrap(), Queue::Shut);
    }
}
