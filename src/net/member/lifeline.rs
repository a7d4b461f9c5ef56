//! The lifeline to the supervisor, read by one thread at a time: by a thread that waits for an
//! answer over it, otherwise by the role thread.
//!
//! This is the pattern "leader/followers" (Schmidt, O'Ryan, Kircher, Pyarali, Buschmann:
//! Leader/Followers, a design pattern for efficient multi-threaded event demultiplexing and
//! dispatching; PLoP 2000), with the role thread as the follower that stays.
//!
//! If the role thread always read, each answer would wake two threads, one after the other. A
//! thread that asks something therefore takes the lead: it reads what comes until its answer is
//! there, and leaves what is not about what the instance holds to the role thread. The role thread
//! does not wait in a read meanwhile, but for a descriptor. One system call of the thread that
//! takes the lead tells this descriptor not to wake it.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use rustix::event::PollFlags;

use crate::net::rt::lock::{Mutex, MutexGuard};
use crate::net::transport::link::{Link, LinkError, Source, await_ready};
use crate::net::transport::port::Stream;
use crate::wire::{Message, ToHolder};

pub(crate) struct Lifeline {
    stream: Arc<Stream>,
    bell: Option<Bell>,
    // Held by the one who reads, also while it waits for the supervisor. So it is only ever tried,
    // never waited for.
    inside: Mutex<LifelineState>,
}

struct LifelineState {
    link: Link,
    /// What the leading thread has read and must leave to the role thread.
    left: Option<Result<Message, LinkError>>,
    /// The bell was told to ring for what is here already.
    ringing: bool,
}

impl Lifeline {
    pub(crate) fn new(link: Link) -> Self {
        let stream = link.stream().clone();
        // Without one, which only happens at a limit of the system, the role thread alone reads.
        let bell = Bell::of(&stream)
            .inspect_err(|error| log::debug!("only one thread reads the lifeline: {error}"))
            .ok();
        Lifeline {
            stream,
            bell,
            inside: Mutex::new(LifelineState { link, left: None, ringing: false }),
        }
    }

    pub(crate) fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// Takes the lead, unless another thread has it, or the role thread has something to do.
    pub(crate) fn lead(&self) -> Option<Lead<'_>> {
        let bell = self.bell.as_ref()?;
        let inside = self.inside.try_lock().filter(|inside| !inside.ringing)?;
        bell.mute(&self.stream).then_some(Lead { stream: &self.stream, bell, inside })
    }

    /// The role thread's end.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader { lifeline: self, inside: None }
    }
}

/// Reads in the role thread's place. Dropping it gives the lifeline back.
pub(crate) struct Lead<'a> {
    stream: &'a Stream,
    bell: &'a Bell,
    inside: MutexGuard<'a, LifelineState>,
}

impl Lead<'_> {
    /// Waits for the next message about what the instance holds. Returns `None` if something else
    /// has come, which is left to the role thread, or the end, or nothing until the deadline.
    pub(crate) fn next(&mut self, deadline: Instant) -> Option<ToHolder> {
        match self.inside.link.read(Some(deadline)) {
            Ok(Message::ToHolder(message)) => return Some(message),
            Err(LinkError::Late) => {}
            other => self.inside.left = Some(other),
        }
        None
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        // Under the lock: who leads next must not be disturbed by what we do.
        let LifelineState { link, left, ringing } = &mut *self.inside;
        *ringing = left.is_some() || !link.is_drained();
        self.bell.unmute(self.stream, *ringing);
    }
}

/// The role thread's reader.
pub(crate) struct Reader<'a> {
    lifeline: &'a Lifeline,
    /// Kept until the next read: nobody else reads what comes after a message before that one is
    /// dealt with.
    inside: Option<MutexGuard<'a, LifelineState>>,
}

impl Source for Reader<'_> {
    fn read(&mut self, deadline: Option<Instant>) -> Result<Message, LinkError> {
        let Lifeline { stream, bell, inside } = self.lifeline;
        let mut has_come = false;
        loop {
            if let Some(mut held) = self.inside.take().or_else(|| inside.try_lock()) {
                if let (true, Some(bell)) = (std::mem::take(&mut held.ringing), bell) {
                    bell.unmute(stream, false);
                }
                let LifelineState { link, left, .. } = &mut *held;
                let next = match left.take() {
                    Some(left) => left.map(Some),
                    None if has_come || !link.is_drained() => link.read_now(),
                    None => Ok(None),
                };
                if let Some(message) = next? {
                    self.inside = Some(held);
                    return Ok(message);
                }
            } else {
                // Who leads is about to read what has come, or to stop leading.
                thread::yield_now();
            }
            match bell {
                Some(bell) => bell.wait(deadline)?,
                None => await_ready(stream, PollFlags::IN, deadline)?,
            }
            has_come = true;
        }
    }

    fn is_stale(&self) -> bool {
        // Who leads reads what comes.
        let is_stale = |inside: &LifelineState| inside.left.is_some() || inside.link.is_stale();
        match &self.inside {
            Some(inside) => is_stale(inside),
            None => self.lifeline.inside.try_lock().is_some_and(|inside| is_stale(&inside)),
        }
    }

    fn stream(&self) -> &Arc<Stream> {
        &self.lifeline.stream
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
use linux::Bell;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::time::Instant;

    use rustix::event::PollFlags;
    use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

    use crate::net::transport::link::{LinkError, await_ready};
    use crate::net::transport::port::Stream;
    use crate::sys::{Booked, Kind};

    /// Wakes the role thread when there is something to read.
    pub(super) struct Bell(Booked<OwnedFd>);

    const NOTHING: EventData = EventData::new_u64(0);

    impl Bell {
        pub(super) fn of(stream: &Stream) -> io::Result<Self> {
            let bell = Booked::make(Kind::Own, || Ok(epoll::create(CreateFlags::CLOEXEC)?))?;
            epoll::add(&bell, &**stream, NOTHING, EventFlags::IN | EventFlags::RDHUP)?;
            Ok(Bell(bell))
        }

        /// Lets the role thread sleep on, whatever comes but a reset.
        pub(super) fn mute(&self, stream: &Stream) -> bool {
            stream.is_usable()
                && epoll::modify(&self.0, &**stream, NOTHING, EventFlags::empty()).is_ok()
        }

        /// Lets it wake when something comes or has come; or `at_once`, as soon as something could
        /// be written. (If nothing can, the supervisor does not read either, and learns that we
        /// have read its message when it does.)
        pub(super) fn unmute(&self, stream: &Stream, at_once: bool) {
            if !stream.is_usable() {
                return; // the role thread has seen that, too
            }
            let now = if at_once { EventFlags::OUT } else { EventFlags::empty() };
            if let Err(error) =
                epoll::modify(&self.0, &**stream, NOTHING, EventFlags::IN | EventFlags::RDHUP | now)
            {
                // Not known to happen. The role thread would miss the end of the supervisor: better
                // it sees one now.
                crate::net::rt::complaint::complain!(
                    Error,
                    "",
                    "closed the lifeline, which can no longer be watched: {error}"
                );
                _ = stream.shutdown(std::net::Shutdown::Both);
            }
        }

        /// Waits until it is rung.
        pub(super) fn wait(&self, deadline: Option<Instant>) -> Result<(), LinkError> {
            // Not in it: what it watches it forgets when the program closes that.
            await_ready(&self.0, PollFlags::IN, deadline)
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
use elsewhere::Bell;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod elsewhere {
    use std::io;
    use std::time::Instant;

    use crate::net::transport::link::LinkError;
    use crate::net::transport::port::Stream;

    /// Nothing that can be muted is known here.
    pub(super) enum Bell {}

    impl Bell {
        pub(super) fn of(_: &Stream) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(super) fn mute(&self, _: &Stream) -> bool {
            match *self {}
        }

        pub(super) fn unmute(&self, _: &Stream, _: bool) {
            match *self {}
        }

        pub(super) fn wait(&self, _: Option<Instant>) -> Result<(), LinkError> {
            match *self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Shutdown, TcpStream};
    use std::time::Duration;

    use super::*;
    use crate::net::transport::port;
    use crate::sys::Kind;
    use crate::wire::News;
    use crate::wire::frame::put_frame;

    /// Only a defect reaches it.
    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    /// A lifeline, and the supervisor's end of it.
    fn lifeline() -> (Lifeline, TcpStream) {
        let listener = port::listen(port::here(0), Kind::Peer).unwrap();
        listener.set_nonblocking(false).unwrap();
        let address = port::here(listener.local_addr().unwrap().port());
        let stream = port::connect(address, Kind::Peer, Duration::from_secs(20)).unwrap().unwrap();
        (Lifeline::new(Link::to_stranger(Arc::new(stream))), listener.accept().unwrap().0)
    }

    fn say(supervisor: &mut TcpStream, messages: &[Message]) {
        let mut bytes = Vec::new();
        messages.iter().for_each(|message| put_frame(message, &mut bytes));
        supervisor.write_all(&bytes).unwrap();
    }

    const STATE: Message = Message::News(News::State { term: 1, settled: true, members: 2 });

    #[test]
    fn who_leads_reads_what_is_held_and_leaves_everything_else_to_the_role_thread_in_order() {
        let (lifeline, mut supervisor) = lifeline();
        let mut reader = lifeline.reader();
        let mut lead = lifeline.lead().unwrap();
        let granted = |id| ToHolder::Granted { id };
        say(&mut supervisor, &[granted(1).into(), STATE, granted(2).into()]);
        assert_eq!(lead.next(soon()), Some(granted(1)));
        assert_eq!(lead.next(soon()), None);
        drop(lead);
        assert!(lifeline.lead().is_none(), "the role thread's turn");
        assert_eq!(reader.read(Some(soon())).unwrap(), STATE);
        assert!(lifeline.lead().is_none(), "it is not done with that");
        assert_eq!(reader.read(Some(soon())).unwrap(), granted(2).into());
        assert!(matches!(reader.read(Some(Instant::now())), Err(LinkError::Late)));
        assert!(lifeline.lead().is_some());
    }

    #[test]
    fn what_came_with_the_answer_wakes_the_role_thread() {
        let (lifeline, mut supervisor) = lifeline();
        let mut lead = lifeline.lead().unwrap();
        thread::scope(|scope| {
            let role = scope.spawn(|| lifeline.reader().read(None).unwrap());
            say(&mut supervisor, &[Message::ToHolder(ToHolder::Granted { id: 1 }), STATE]);
            assert_eq!(lead.next(soon()), Some(ToHolder::Granted { id: 1 }));
            drop(lead); // without having seen what else there is
            assert_eq!(role.join().unwrap(), STATE);
        });
    }

    #[test]
    fn while_one_leads_nobody_else_does() {
        let (lifeline, _supervisor) = lifeline();
        let lead = lifeline.lead().unwrap();
        assert!(lifeline.lead().is_none());
        drop(lead);
        assert!(lifeline.lead().is_some());
    }

    #[test]
    fn the_role_thread_sees_how_the_lifeline_ended_although_another_one_read_the_end() {
        for reset in [false, true] {
            let (lifeline, supervisor) = lifeline();
            let mut lead = lifeline.lead().unwrap();
            thread::scope(|scope| {
                let role = scope.spawn(|| lifeline.reader().read(None).unwrap_err());
                if reset {
                    socket2::SockRef::from(&supervisor).set_linger(Some(Duration::ZERO)).unwrap();
                } else {
                    supervisor.shutdown(Shutdown::Write).unwrap();
                }
                drop(supervisor);
                assert_eq!(lead.next(soon()), None);
                drop(lead);
                let end = role.join().unwrap();
                assert!(matches!(end, LinkError::Gone { reset: seen } if seen == reset), "{end:?}");
            });
        }
    }
}
