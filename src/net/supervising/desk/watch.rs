//! What the thread that gives the turns sleeps on.

use crate::state::ConnId;

pub(super) use kind::{Reports, TELLS_ONCE, Watch};

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A connection has arrived at this listener, or an acceptor there has said something.
    Listener(u64),
    /// A connection has ended, perhaps with something to be read.
    End(ConnId),
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod kind {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use rustix::buffer::spare_capacity;
    use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
    use rustix::event::{PollFlags, Timespec};

    use super::Found;
    use crate::net::rt::waker::Waker;
    use crate::net::transport::link::{LinkError, await_ready};
    use crate::net::transport::port::{Listening, Stream};
    use crate::state::ConnId;
    use crate::sys::{Booked, Kind};

    const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

    /// A connection that waits wakes the thread when it arrives, and not again.
    pub(in super::super) const TELLS_ONCE: bool = true;

    /// How many events are taken at a time.
    const MANY: usize = 64;

    // The two highest bits of a number in the set say what it is.
    const WAKER: u64 = 0;
    const ARRIVAL: u64 = 1 << 62;
    const REPORTS: u64 = 2 << 62;
    const END: u64 = 3 << 62;
    const KINDS: u64 = END;

    /// A set of sets: one for all, and in it one for each listener with what its acceptors say.
    /// Whether that set wakes the thread is one system call, however many acceptors there are.
    pub(in super::super) struct Watch(Booked<OwnedFd>);

    /// What the acceptors at one listener say.
    pub(in super::super) struct Reports {
        set: Booked<OwnedFd>,
        wakes: bool,
        /// Connections that arrive wake the thread.
        arrivals: bool,
    }

    fn make() -> io::Result<Booked<OwnedFd>> {
        Booked::make(Kind::Own, || Ok(epoll::create(CreateFlags::CLOEXEC)?))
    }

    fn arrivals(wanted: bool) -> EventFlags {
        // The end of the listener is told in any case.
        EventFlags::ET | if wanted { EventFlags::IN } else { EventFlags::empty() }
    }

    fn take(set: &Booked<OwnedFd>) -> Vec<epoll::Event> {
        let mut events = Vec::with_capacity(MANY);
        _ = epoll::wait(set, spare_capacity(&mut events), Some(&AT_ONCE));
        events
    }

    impl Watch {
        pub(in super::super) fn new() -> io::Result<Self> {
            Ok(Watch(make()?))
        }

        pub(in super::super) fn waker(&self, waker: &Waker) -> io::Result<()> {
            Ok(epoll::add(&self.0, waker, EventData::new_u64(WAKER), EventFlags::IN)?)
        }

        /// Begins with a listener that nobody has shown yet.
        pub(in super::super) fn begin(&self, number: u64) -> io::Result<Reports> {
            let set = make()?;
            epoll::add(&self.0, &set, EventData::new_u64(REPORTS | number), EventFlags::IN)?;
            Ok(Reports { set, wakes: true, arrivals: true })
        }

        pub(in super::super) fn listener(
            &self,
            number: u64,
            socket: &Arc<Listening>,
        ) -> io::Result<()> {
            let number = EventData::new_u64(ARRIVAL | number);
            Ok(epoll::add(&self.0, &**socket, number, arrivals(true))?)
        }

        /// Forgets a listener before it is closed: others may have it, and the kernel then keeps
        /// it in the set.
        pub(in super::super) fn leave(&self, socket: &Arc<Listening>) {
            _ = epoll::delete(&self.0, &**socket);
        }

        /// Begins with a connection of one who wants to accept.
        pub(in super::super) fn line(
            &self,
            conn: ConnId,
            stream: &Arc<Stream>,
            reports: &Reports,
        ) -> io::Result<()> {
            let end = EventFlags::RDHUP | EventFlags::ET;
            epoll::add(&self.0, &**stream, EventData::new_u64(END | conn), end)?;
            Ok(epoll::add(&reports.set, &**stream, EventData::new_u64(conn), EventFlags::IN)?)
        }

        /// Says whether what acceptors say, and connections that arrive, wake the thread.
        pub(in super::super) fn mind(
            &self,
            number: u64,
            reports: &mut Reports,
            socket: Option<&Arc<Listening>>,
            (says, arrives): (bool, bool),
        ) {
            if reports.wakes != says {
                let flags = if says { EventFlags::IN } else { EventFlags::empty() };
                let key = EventData::new_u64(REPORTS | number);
                _ = epoll::modify(&self.0, &reports.set, key, flags);
                reports.wakes = says;
            }
            if let Some(socket) = socket.filter(|_| reports.arrivals != arrives) {
                let key = EventData::new_u64(ARRIVAL | number);
                _ = epoll::modify(&self.0, &**socket, key, arrivals(arrives));
                reports.arrivals = arrives;
            }
        }

        /// Waits until something happens, for the time or for the waker. An error means that there
        /// is nothing left to wait for.
        pub(in super::super) fn wait(
            &self,
            waker: &Waker,
            timeout: Option<Duration>,
        ) -> Result<Vec<Found>, LinkError> {
            let deadline = timeout.map(|timeout| Instant::now() + timeout);
            match await_ready(&self.0, PollFlags::IN, deadline) {
                Ok(()) => {}
                Err(LinkError::Late) => return Ok(Vec::new()),
                Err(error) => return Err(error),
            }
            let found = take(&self.0).into_iter().filter_map(|event| {
                let (data, number) = (event.data.u64(), event.data.u64() & !KINDS);
                match data & KINDS {
                    ARRIVAL | REPORTS => Some(Found::Listener(number)),
                    END => Some(Found::End(number)),
                    _ => {
                        waker.drain();
                        None
                    }
                }
            });
            Ok(found.collect())
        }
    }

    impl Reports {
        /// Returns whose words can be read now.
        pub(in super::super) fn readable(&self) -> Vec<ConnId> {
            take(&self.set).into_iter().map(|event| event.data.u64()).collect()
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod kind {
    use std::collections::BTreeMap;
    use std::io;
    use std::sync::{Arc, Weak};
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::Found;
    use crate::net::rt::lock::Mutex;
    use crate::net::rt::waker::Waker;
    use crate::net::transport::link::LinkError;
    use crate::net::transport::port::{Listening, Stream};
    use crate::state::ConnId;

    /// A connection that waits shows as long as it does, and would wake the thread again and again.
    pub(in super::super) const TELLS_ONCE: bool = false;

    /// Everything is waited for one by one: no way is known that all these systems have, and that
    /// costs less for many.
    #[derive(Default)]
    pub(in super::super) struct Watch(Mutex<WatchedSockets>);

    #[derive(Default)]
    struct WatchedSockets {
        listeners: BTreeMap<u64, Watching>,
        lines: BTreeMap<ConnId, (u64, Weak<Stream>)>,
    }

    #[derive(Default)]
    struct Watching {
        socket: Weak<Listening>,
        says: bool,
        arrives: bool,
    }

    pub(in super::super) struct Reports {
        number: u64,
        lines: Mutex<Vec<(ConnId, Weak<Stream>)>>,
    }

    impl Watch {
        pub(in super::super) fn new() -> io::Result<Self> {
            Ok(Watch::default())
        }

        pub(in super::super) fn waker(&self, _: &Waker) -> io::Result<()> {
            Ok(())
        }

        pub(in super::super) fn begin(&self, number: u64) -> io::Result<Reports> {
            let watching = Watching { says: true, arrives: true, ..Watching::default() };
            self.0.lock().listeners.insert(number, watching);
            Ok(Reports { number, lines: Mutex::default() })
        }

        pub(in super::super) fn listener(
            &self,
            number: u64,
            socket: &Arc<Listening>,
        ) -> io::Result<()> {
            let mut watched = self.0.lock();
            watched.listeners.entry(number).or_default().socket = Arc::downgrade(socket);
            Ok(())
        }

        pub(in super::super) fn leave(&self, socket: &Arc<Listening>) {
            let gone = Arc::downgrade(socket);
            let mut watched = self.0.lock();
            for one in watched.listeners.values_mut().filter(|one| one.socket.ptr_eq(&gone)) {
                one.socket = Weak::new();
            }
        }

        pub(in super::super) fn line(
            &self,
            conn: ConnId,
            stream: &Arc<Stream>,
            reports: &Reports,
        ) -> io::Result<()> {
            let line = Arc::downgrade(stream);
            reports.lines.lock().push((conn, line.clone()));
            self.0.lock().lines.insert(conn, (reports.number, line));
            Ok(())
        }

        pub(in super::super) fn mind(
            &self,
            number: u64,
            _: &mut Reports,
            _: Option<&Arc<Listening>>,
            (says, arrives): (bool, bool),
        ) {
            let mut watched = self.0.lock();
            let watching = watched.listeners.entry(number).or_default();
            (watching.says, watching.arrives) = (says, arrives);
        }

        pub(in super::super) fn wait(
            &self,
            waker: &Waker,
            timeout: Option<Duration>,
        ) -> Result<Vec<Found>, LinkError> {
            let mut watched = self.0.lock();
            watched.lines.retain(|_, (_, line)| line.strong_count() > 0);
            let flags = |wanted| if wanted { PollFlags::IN } else { PollFlags::empty() };
            let mut sockets = Vec::new();
            for (number, one) in &watched.listeners {
                sockets.extend(one.socket.upgrade().map(|it| (*number, it, flags(one.arrives))));
            }
            let mut lines = Vec::new();
            for (conn, (number, line)) in &watched.lines {
                let says = watched.listeners.get(number).is_some_and(|one| one.says);
                lines.extend(line.upgrade().map(|it| (*conn, *number, it, flags(says))));
            }
            drop(watched);
            let mut fds: Vec<PollFd<'_>> =
                sockets.iter().map(|(_, socket, flags)| PollFd::new(&**socket, *flags)).collect();
            fds.extend(lines.iter().map(|(.., line, flags)| PollFd::new(&**line, *flags)));
            _ = waker.wait(&mut fds, timeout);
            if !waker.is_usable() {
                return Err(LinkError::Gone { reset: false });
            }
            let events: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
            let (of_sockets, of_lines) = events.split_at(sockets.len());
            let mut found = Vec::new();
            for ((number, ..), events) in sockets.iter().zip(of_sockets) {
                found.extend((!events.is_empty()).then_some(Found::Listener(*number)));
            }
            for ((conn, number, ..), events) in lines.iter().zip(of_lines) {
                if events.intersects(PollFlags::HUP | PollFlags::ERR) {
                    found.push(Found::End(*conn));
                } else if !events.is_empty() {
                    found.push(Found::Listener(*number));
                }
            }
            Ok(found)
        }
    }

    impl Reports {
        pub(in super::super) fn readable(&self) -> Vec<ConnId> {
            let mut lines = self.lines.lock();
            lines.retain(|(_, line)| line.strong_count() > 0);
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            let is_readable = |line: &Arc<Stream>| {
                poll(&mut [PollFd::new(&**line, PollFlags::IN)], Some(&at_once))
                    .is_ok_and(|n| n > 0)
            };
            let readable = lines
                .iter()
                .filter(|(_, line)| line.upgrade().is_some_and(|line| is_readable(&line)));
            readable.map(|(conn, _)| *conn).collect()
        }
    }
}
