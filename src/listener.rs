//! A listener that the instances of a group share: one queue of connections for all of them.

use std::io;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{AcceptError, AskError, ListenError};
use crate::instance::Instance;
use crate::net::accepting::acceptor::{AcceptEnd, Acceptor};
use crate::net::accepting::keeper;
use crate::net::rt::clock::deadline;

mod listen;

pub use listen::Listen;

impl Instance {
    /// Accepts connections at `address` together with all instances of the group that listen there.
    ///
    /// All of them have one and the same listening socket. The connections that nobody has accepted
    /// yet wait in it, not in a process: the death of an instance, the supervisor's included, loses
    /// none of them. The supervisor gives the instances turns, by which each gets its share. With
    /// the first instance that listens the socket is made; it is closed five seconds after the last
    /// one has gone.
    ///
    /// The port must be one that all instances know, not 0. An address of IPv6 takes connections of
    /// IPv6 only. To listen at several addresses, call this for each.
    ///
    /// Blocks until the listener is there, for at most
    /// [`Config::answer_timeout`](crate::Config::answer_timeout). Starts one thread, which lives as
    /// long as the [`Listener`].
    ///
    /// # Errors
    ///
    /// Any [`ListenError`]. Nothing is left behind.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::net::TcpStream;
    /// use pares::Listen;
    ///
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// # let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    /// # let config = config.name("web-1");
    /// let instance = pares::Instance::join(config)?;
    /// # let port = free;
    /// let listener = instance.listen(([127, 0, 0, 1], port), Listen::new())?;
    ///
    /// let mut client = TcpStream::connect(listener.address())?;
    /// let mut connection = listener.accept()?;
    /// connection.write_all(b"hello")?;
    /// drop(connection);
    ///
    /// let mut heard = String::new();
    /// client.read_to_string(&mut heard)?;
    /// assert_eq!(heard, "hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn listen(
        &self,
        address: impl Into<SocketAddr>,
        listen: Listen,
    ) -> Result<Listener, ListenError> {
        self.listen_until(address.into(), listen, deadline(self.answer_timeout))
    }

    pub(crate) fn listen_until(
        &self,
        address: SocketAddr,
        listen: Listen,
        until: Instant,
    ) -> Result<Listener, ListenError> {
        listen.check(address)?;
        if self.shared.presence.is_over() {
            return Err(ListenError::Ask { source: AskError::Stopped });
        }
        let place = self.listeners.take(address)?;
        let whose = (self.shared.clone(), self.client.asker.clone());
        let how = (listen.terms, listen.backlog);
        let acceptor = keeper::begin(whose, address, how, &self.listeners, until)?;
        place.fill(&acceptor);
        Ok(Listener { acceptor })
    }
}

/// A listening socket that this instance shares with others, made by
/// [`listen`](Instance::listen).
///
/// Any thread may accept, several at once: each thread that waits is one turn that this instance
/// can have. As an iterator it accepts until it is drained or the instance leaves.
///
/// When an instance dies, connections that it has accepted are lost, and none else. While the
/// supervisor stands still (SIGSTOP, a debugger), nobody gets new turns, and connections wait.
///
/// **To poll**, use the [`descriptor`](Listener::descriptor).
///
/// Dropping it [drains](Listener::drain) it. In a forked child it has ended, and the child may
/// listen by itself after it has joined.
///
/// # Examples
///
/// ```no_run
/// use std::io::Write;
/// use pares::{Config, Instance, Listen};
///
/// let instance = Instance::join(Config::new("my-server"))?;
/// let listener = instance.listen(([0, 0, 0, 0], 8080), Listen::new())?;
/// for connection in &listener {
///     let mut connection = connection?;
///     std::thread::spawn(move || connection.write_all(b"hello\n"));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping it ends accepting"]
pub struct Listener {
    acceptor: Arc<Acceptor>,
}

impl Listener {
    /// Accepts the next connection in turn. Blocks until there is one.
    ///
    /// # Errors
    ///
    /// Any [`AcceptError`] but `TimedOut`. After `Io` another attempt may succeed.
    pub fn accept(&self) -> Result<Connection, AcceptError> {
        self.accept_until(None)
    }

    /// Accepts the next connection in turn. Blocks until there is one, for at most `timeout`; zero
    /// does not block.
    ///
    /// # Errors
    ///
    /// Any [`AcceptError`]. After `TimedOut` and `Io` another attempt may succeed.
    pub fn accept_timeout(&self, timeout: Duration) -> Result<Connection, AcceptError> {
        self.accept_until(Some(deadline(timeout)))
    }

    fn accept_until(&self, deadline: Option<Instant>) -> Result<Connection, AcceptError> {
        let (stream, peer) = self.acceptor.accept(deadline)?;
        Ok(Connection { stream: Some(stream), peer, acceptor: self.acceptor.clone() })
    }

    /// Accepts a connection that counts as open until [`closed_by_c`](Listener::closed_by_c).
    #[cfg(feature = "capi")]
    pub(crate) fn accept_for_c(&self, timeout: Duration) -> Result<TcpStream, AcceptError> {
        let deadline = Some(timeout).filter(|timeout| *timeout != Duration::MAX).map(deadline);
        self.acceptor.accept(deadline).map(|(stream, _)| stream)
    }

    /// Notes that such a connection is closed.
    #[cfg(feature = "capi")]
    pub(crate) fn closed_by_c(&self) {
        self.acceptor.closed();
    }

    /// Returns the address that is shared.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.acceptor.address()
    }

    /// Accepts no more connections from now on: others get the turns. Threads that wait in
    /// [`accept`](Listener::accept) return [`AcceptError::Drained`]. What was accepted goes on.
    ///
    /// Does not block. To restart without losing a connection, drain, then
    /// [wait](Listener::wait_closed) until what was accepted is done, then exit.
    pub fn drain(&self) {
        self.acceptor.end(AcceptEnd::Drained);
    }

    /// Returns true if no more connections are accepted here: because of
    /// [`drain`](Listener::drain), because an operator has asked for it (`pares drain`,
    /// [`Client::drain`](crate::Client::drain)), or because the instance has left.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.acceptor.has_ended()
    }

    /// Waits until no more connections are accepted here, for at most `timeout`. Returns true if
    /// none is.
    #[must_use = "false says that connections are accepted"]
    pub fn wait_drained(&self, timeout: Duration) -> bool {
        self.acceptor.await_end(deadline(timeout))
    }

    /// Returns a copy of the listening socket itself, for a program that this one starts, and that
    /// accepts [freely](crate::Policy::Free), without turns. Whether the socket blocks is the same
    /// for all who share it: a program that depends on it sets it.
    ///
    /// The copy is an ordinary descriptor: a forked child keeps it. As long as any process has a
    /// copy, clients can connect and wait.
    ///
    /// # Errors
    ///
    /// If the system has no descriptor left, or the listener has ended.
    pub fn socket_copy(&self) -> io::Result<OwnedFd> {
        self.acceptor.copy()
    }

    /// Returns how many of the accepted connections are open: those whose [`Connection`] has not
    /// been dropped.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.acceptor.open()
    }

    /// Waits until none of the accepted connections is [open](Listener::open), for at most
    /// `timeout`. Returns true if none is.
    #[must_use = "false says that connections are open"]
    pub fn wait_closed(&self, timeout: Duration) -> bool {
        self.acceptor.await_closed(deadline(timeout))
    }

    /// Returns a descriptor for programs that poll: readable when
    /// [`accept_timeout(Duration::ZERO)`](Listener::accept_timeout) has something to do. That may
    /// be a connection, or only a word of the supervisor's; then it returns
    /// [`AcceptError::TimedOut`]. It works level-triggered, and lives as long as the listener.
    ///
    /// A listener whose descriptor was asked for has as many turns as its
    /// [capacity](Listen::capacity) allows, whether a thread waits or not.
    ///
    /// # Errors
    ///
    /// If the system has no descriptor left, or none of this kind (it needs Linux).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use pares::{AcceptError, Listen};
    /// use rustix::event::{PollFd, PollFlags, poll};
    ///
    /// # let (config, _dir) = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs"));
    /// # let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    /// let instance = pares::Instance::join(config)?;
    /// let listener = instance.listen(([127, 0, 0, 1], port), Listen::new())?;
    /// # let client = std::net::TcpStream::connect(listener.address())?;
    /// loop {
    ///     poll(&mut [PollFd::new(&listener.descriptor()?, PollFlags::IN)], None)?;
    ///     match listener.accept_timeout(Duration::ZERO) {
    ///         Ok(connection) => println!("{} is here", connection.peer()),
    ///         Err(AcceptError::TimedOut) => continue,
    ///         Err(error) => return Err(error.into()),
    ///     }
    /// #   break;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn descriptor(&self) -> io::Result<BorrowedFd<'_>> {
        self.acceptor.descriptor()
    }
}

impl AsFd for Listener {
    /// Returns the [`descriptor`](Listener::descriptor).
    ///
    /// # Panics
    ///
    /// If the system has none left.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor().expect("a descriptor to poll")
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if !self.acceptor.is_void() {
            self.acceptor.finish(AcceptEnd::Drained);
        }
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("address", &self.address()).finish_non_exhaustive()
    }
}

impl<'a> IntoIterator for &'a Listener {
    type Item = Result<Connection, AcceptError>;
    type IntoIter = Connections<'a>;

    fn into_iter(self) -> Connections<'a> {
        Connections { listener: self }
    }
}

/// An iterator that accepts connections until a [`Listener`] is drained or its instance leaves.
#[derive(Debug)]
pub struct Connections<'a> {
    listener: &'a Listener,
}

impl Iterator for Connections<'_> {
    type Item = Result<Connection, AcceptError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.listener.accept_until(None) {
            Err(AcceptError::Drained | AcceptError::Stopped) => None,
            accepted => Some(accepted),
        }
    }
}

/// An accepted connection. It counts as [open](Listener::open) until it is dropped.
///
/// It is a [`TcpStream`], by way of [`Deref`]; [`into_stream`](Connection::into_stream) takes that
/// out.
#[derive(Debug)]
pub struct Connection {
    /// `None` once it has been taken out.
    stream: Option<TcpStream>,
    peer: SocketAddr,
    acceptor: Arc<Acceptor>,
}

impl Connection {
    /// Returns the address of the other end.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Returns the stream alone. The connection no longer counts as open.
    #[must_use]
    pub fn into_stream(mut self) -> TcpStream {
        self.stream.take().expect("it has not been taken out")
    }
}

impl Deref for Connection {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        self.stream.as_ref().expect("it has not been taken out")
    }
}

impl Read for Connection {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        (&**self).read(into)
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&**self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&**self).flush()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        (**self).as_fd()
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        (**self).as_raw_fd()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        drop(self.stream.take());
        self.acceptor.closed();
    }
}
