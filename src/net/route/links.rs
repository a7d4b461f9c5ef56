//! The connections between the routers of a service, and between routers and agents: who is let in,
//! and what comes.
//!
//! An agent dials every router; of two routers, the one with the smaller tail dials. Each
//! connection has a thread that reads from it. Whatever comes goes into the inbox of the thread
//! that decides, which is the only one that sends.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::inbox::Inbox;
use crate::config::route::{MAX_LINKS, MAX_UNSENT};
use crate::net::rt::complaint::complain;
use crate::net::rt::lock::Mutex;
use crate::net::rt::threads::{self, Threads};
use crate::net::transport::handshake::Pass;
use crate::net::transport::link::LinkError;
use crate::net::transport::outbox::Outbox;
use crate::net::transport::port::{Listening, Stream};
use crate::net::transport::service::{Service, ServiceKind};
use crate::net::transport::session::{Session, Turn};
use crate::sys::{Booked, Kind};
use crate::wire::{Host, Introduction, Message, Purpose, RouteToken, RouterNow, Tail};

/// The number of a connection, never used twice by one process.
pub(super) type LinkId = u64;

/// The place in which a process that has one numbers its connections.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// What a process says of itself when a connection begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Introduced {
    pub(super) tail: Tail,
    pub(super) name: String,
    pub(super) host: Host,
    /// Of an agent, its weight.
    pub(super) weight: u16,
    /// What a router does; `None` of an agent.
    pub(super) router: Option<RouterNow>,
    /// Of a router that was dialled.
    pub(super) services: Vec<SocketAddr>,
}

/// What a connection brings.
pub(super) enum LinkNews {
    Up { link: LinkId, other: Introduced, outbox: Arc<Outbox> },
    Said { link: LinkId, tail: Tail, message: Message },
    Down { link: LinkId, tail: Tail },
}

/// This process, as it introduces itself.
pub(super) struct OwnSide {
    pub(super) service_type: u16,
    pub(super) tail: Tail,
    pub(super) name: String,
    pub(super) host: Host,
    pub(super) weight: u16,
    /// Of a router: under which token it owns the addresses. `None` of an agent.
    pub(super) owns: Option<Mutex<Option<RouteToken>>>,
    pub(super) services: Vec<SocketAddr>,
    /// After such a silence of the other kernel, a connection has ended.
    pub(super) dead: Duration,
}

impl OwnSide {
    fn router(&self) -> Option<RouterNow> {
        self.owns.as_ref().map(|owns| RouterNow { owns: *owns.lock() })
    }

    pub(super) fn hello(&self) -> Introduction {
        Introduction::RouteHello {
            service_type: self.service_type,
            tail: self.tail,
            router: self.router().map(Box::new),
            name: self.name.clone(),
            host: Box::new(self.host),
            weight: self.weight,
        }
    }

    fn welcome(&self) -> Introduction {
        Introduction::RouteWelcome {
            tail: self.tail,
            router: Box::new(self.router().unwrap_or(RouterNow { owns: None })),
            name: self.name.clone(),
            host: Box::new(self.host),
            services: self.services.clone(),
        }
    }
}

/// The number of a new connection.
pub(super) fn new_link() -> LinkId {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Ends a connection to a kernel that is silent, and sends each message at once.
pub(super) fn set_up(stream: &Stream, dead: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    SockRef::from(&**stream).set_tcp_user_timeout(Some(dead))?;
    Ok(())
}

/// The port at which a router lets others in.
pub(super) struct Entrance {
    service: Arc<Service>,
    is_over: Arc<AtomicBool>,
    thread: Threads,
}

impl Entrance {
    /// Lets in whoever has the group's key, until it is dropped.
    pub(super) fn open<N>(
        port: u16,
        pass: Pass,
        own: Arc<OwnSide>,
        inbox: Arc<Inbox<N>>,
    ) -> io::Result<Self>
    where
        N: From<LinkNews> + Send + 'static,
    {
        let listener = listen(port)?;
        let at: SocketAddr = (Ipv4Addr::UNSPECIFIED, listener.local_addr()?.port()).into();
        let kind = ServiceKind {
            thread: threads::LINK,
            purposes: &[Purpose::Route],
            max_clients: MAX_LINKS,
            on_top: false,
        };
        let service = Service::new(kind, at, pass)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let thread = Threads::default();
        thread.spawn(threads::LINKS, {
            let (service, is_over) = (service.clone(), is_over.clone());
            move || {
                let serve = move |session| serve(&own, &inbox, session);
                drop(service.run(listener, || is_over.load(Ordering::Acquire), serve));
            }
        })?;
        Ok(Entrance { service, is_over, thread })
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        self.service.wake();
        self.service.close();
        self.thread.join_all();
    }
}

/// Listens at all addresses of both families; of IPv4 alone where there is no IPv6.
fn listen(port: u16) -> io::Result<Listening> {
    let bind = |domain, address: SocketAddr| -> io::Result<Listening> {
        let socket: Booked<Socket> =
            Booked::make(Kind::Peer, || Socket::new(domain, Type::STREAM, Some(Protocol::TCP)))?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(false)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(128)?;
        socket.set_nonblocking(true)?;
        Ok(socket.become_a::<TcpListener>())
    };
    match bind(Domain::IPV6, (Ipv6Addr::UNSPECIFIED, port).into()) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            bind(Domain::IPV4, (Ipv4Addr::UNSPECIFIED, port).into())
        }
        bound => bound,
    }
}

/// The life of a connection that was let in.
fn serve<N: From<LinkNews>>(own: &OwnSide, inbox: &Inbox<N>, session: Session) {
    let mut known = None;
    session.serve(|session, message| match (known, message) {
        (None, Message::Introduction(hello @ Introduction::RouteHello { .. })) => {
            match let_in(own, session, hello) {
                Ok(other) => {
                    let (link, tail) = (new_link(), other.tail);
                    let outbox = Arc::new(Outbox::of(&session.link));
                    outbox.put_frame(&own.welcome().into());
                    outbox.flush();
                    inbox.put(LinkNews::Up { link, other, outbox }.into());
                    known = Some((link, tail));
                    Turn::Next
                }
                Err(fault) => Turn::Broke(fault),
            }
        }
        (Some((link, tail)), message @ (Message::FromAgent(_) | Message::BetweenRouters(_))) => {
            inbox.put(LinkNews::Said { link, tail, message }.into());
            Turn::Next
        }
        _ => Turn::Broke("not what is said here"),
    });
    if let Some((link, tail)) = known {
        inbox.put(LinkNews::Down { link, tail }.into());
    }
}

fn let_in(
    own: &OwnSide,
    session: &Session,
    hello: Introduction,
) -> Result<Introduced, &'static str> {
    let Introduction::RouteHello { service_type, tail, router, name, host, weight } = hello else {
        return Err("not a hello");
    };
    let stream = session.link.stream();
    set_up(stream, own.dead).map_err(|_| "the connection has ended")?;
    let from = stream.peer_addr().map_err(|_| "the connection has ended")?;
    // Packets go there: nobody may have them sent to another host than its own.
    if !host.has(from.ip().to_canonical()) {
        return Err("its packets would go to another host than the one that it speaks from");
    }
    if service_type != own.service_type {
        return Err("it is of another service type");
    }
    Ok(Introduced {
        tail,
        name,
        host: *host,
        weight,
        router: router.map(|now| *now),
        services: Vec::new(),
    })
}

/// Reads the answer to a hello.
pub(super) fn welcomed(message: Message) -> Result<Introduced, LinkError> {
    let Message::Introduction(Introduction::RouteWelcome { tail, router, name, host, services }) =
        message
    else {
        let fault = crate::wire::DecodeError::BadValue("answer to a hello");
        return Err(LinkError::Malformed(fault));
    };
    Ok(Introduced { tail, name, host: *host, weight: 0, router: Some(*router), services })
}

/// The connections that are up, and what is sent over them. Of two by the same process, only the
/// newer one counts.
#[derive(Default)]
pub(super) struct Switchboard {
    links: BTreeMap<Tail, (LinkId, Arc<Outbox>)>,
}

impl Switchboard {
    /// Returns true if there was an earlier one, which has ended with this.
    pub(super) fn up(&mut self, link: LinkId, tail: Tail, outbox: Arc<Outbox>) -> bool {
        let before = self.links.insert(tail, (link, outbox));
        before.iter().for_each(|(_, outbox)| end(outbox));
        before.is_some()
    }

    /// Returns true if it was the present one.
    pub(super) fn down(&mut self, link: LinkId, tail: Tail) -> bool {
        let is_present = self.is_present(link, tail);
        if is_present {
            self.links.remove(&tail);
        }
        is_present
    }

    pub(super) fn is_present(&self, link: LinkId, tail: Tail) -> bool {
        self.links.get(&tail).is_some_and(|(present, _)| *present == link)
    }

    /// Sends, once it is flushed.
    pub(super) fn send(&self, tail: Tail, message: impl Into<Message>) {
        if let Some((_, outbox)) = self.links.get(&tail) {
            outbox.put_frame(&message.into());
        }
    }

    pub(super) fn hang_up(&mut self, tail: Tail) {
        if let Some((_, outbox)) = self.links.remove(&tail) {
            outbox.flush();
            end(&outbox);
        }
    }

    /// Passes to the kernel what it takes. Whoever has not read for too long is cut off: its
    /// reading thread tells the rest.
    pub(super) fn flush(&self) {
        for (tail, (_, outbox)) in &self.links {
            if !outbox.flush() && outbox.len() > MAX_UNSENT {
                complain!(Warn, &tail.to_string(), "cut off {tail}, which reads nothing");
                outbox.clear();
                end(outbox);
            }
        }
    }

    /// Returns what to wait for until more can be flushed.
    pub(super) fn stalled(&self) -> impl Iterator<Item = PollFd<'_>> {
        let stalled = self.links.values().filter(|(_, outbox)| outbox.len() > 0);
        stalled.map(|(_, outbox)| PollFd::new(&***outbox.stream(), PollFlags::OUT))
    }
}

fn end(outbox: &Outbox) {
    _ = outbox.stream().shutdown(Shutdown::Both);
}

/// Returns the address at which to dial a router, whose heartbeats come from `from`.
pub(super) fn dialled(from: SocketAddr, port: u16) -> SocketAddr {
    let ip: IpAddr = from.ip().to_canonical();
    SocketAddr::new(ip, port)
}
