//! Dials the routers that the group knows, again and again: each on a thread of its own, so that a
//! dead host keeps no other waiting.

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::inbox::Inbox;
use super::links::{LinkNews, OwnSide, new_link, set_up, welcomed};
use crate::config::HANDSHAKE_TIMEOUT;
use crate::net::rt::complaint::complain;
use crate::net::rt::lock::{Condvar, Mutex};
use crate::net::rt::threads::{self, Threads};
use crate::net::transport::handshake::{self, Denied, Pass};
use crate::net::transport::link::{Link, LinkError};
use crate::net::transport::outbox::Outbox;
use crate::net::transport::port::Stream;
use crate::sys::{Booked, Kind};
use crate::wire::{Message, Purpose, Tail};

/// What is dialled, and what of it.
pub(super) struct Dialler<N> {
    own: Arc<OwnSide>,
    pass: Pass,
    inbox: Arc<Inbox<N>>,
    /// The pause between two attempts, on average.
    pause: Duration,
    ways: BTreeMap<Tail, Arc<Way>>,
    threads: Threads,
}

/// The way to one router.
struct Way {
    // Held for moments.
    inside: Mutex<WayState>,
    /// Rung at the end.
    over: Condvar,
}

struct WayState {
    address: SocketAddr,
    /// What a thread waits at.
    stream: Option<Arc<Stream>>,
    is_over: bool,
}

impl<N: From<LinkNews> + Send + 'static> Dialler<N> {
    pub(super) fn new(
        own: Arc<OwnSide>,
        pass: Pass,
        inbox: Arc<Inbox<N>>,
        pause: Duration,
    ) -> Self {
        Dialler { own, pass, inbox, pause, ways: BTreeMap::new(), threads: Threads::default() }
    }

    /// Dials these from now on, and no others.
    pub(super) fn dial(&mut self, routers: &BTreeMap<Tail, SocketAddr>) {
        self.ways.retain(|tail, way| {
            let address = routers.get(tail);
            match address {
                Some(address) => way.inside.lock().address = *address,
                None => way.end(),
            }
            address.is_some()
        });
        for (tail, address) in routers {
            if self.ways.contains_key(tail) {
                continue;
            }
            let state = WayState { address: *address, stream: None, is_over: false };
            let way = Arc::new(Way { inside: Mutex::new(state), over: Condvar::new() });
            let (own, pass, inbox) = (self.own.clone(), self.pass.clone(), self.inbox.clone());
            let (pause, going) = (self.pause, way.clone());
            let started = self.threads.spawn(threads::LINK, move || {
                going.run(&own, &pass, &inbox, pause);
            });
            match started {
                Ok(()) => _ = self.ways.insert(*tail, way),
                // Tried again with the next heartbeat.
                Err(error) => complain!(Warn, "dial", "cannot start a thread to dial: {error}"),
            }
        }
    }
}

impl<N> Drop for Dialler<N> {
    fn drop(&mut self) {
        self.ways.values().for_each(|way| way.end());
        self.threads.join_all();
    }
}

impl Way {
    fn end(&self) {
        let mut inside = self.inside.lock();
        inside.is_over = true;
        inside.stream.iter().for_each(|stream| _ = stream.shutdown(Shutdown::Both));
        drop(inside);
        self.over.notify_all();
    }

    /// Dials, reads until the connection ends, waits, and dials again.
    fn run<N: From<LinkNews>>(
        &self,
        own: &OwnSide,
        pass: &Pass,
        inbox: &Inbox<N>,
        pause: Duration,
    ) {
        loop {
            match self.meet(own, pass) {
                Ok(link) => self.read(link, inbox),
                Err(why) => log::debug!("cannot reach a router: {why}"),
            }
            // Whoever lost it together does not come back together.
            let until = Instant::now() + pause / 2 + pause.mul_f64(random_part());
            let mut inside = self.inside.lock();
            while !inside.is_over {
                if self.over.wait_until(&mut inside, until).timed_out() {
                    break;
                }
            }
            if inside.is_over {
                return;
            }
        }
    }

    fn meet(&self, own: &OwnSide, pass: &Pass) -> Result<Link, String> {
        let text = |error: io::Error| error.to_string();
        let address = self.inside.lock().address;
        let patience = HANDSHAKE_TIMEOUT.min(own.dead);
        let stream: Stream =
            Booked::make(Kind::Peer, || TcpStream::connect_timeout(&address, patience))
                .map_err(text)?;
        set_up(&stream, own.dead).map_err(text)?;
        let stream = Arc::new(stream);
        {
            let mut inside = self.inside.lock();
            if inside.is_over {
                return Err("it is dialled no more".into());
            }
            inside.stream = Some(stream.clone());
        }
        let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        let hello = own.hello().into();
        handshake::open(stream, pass, address, Purpose::Route, hello, deadline).map_err(|denied| {
            match denied {
                Denied::ClosedAtOnce => format!("{address} closed the connection at once"),
                Denied::Late => format!("{address} does not answer"),
                Denied::Obstructed(obstacle) => {
                    complain!(
                        Warn,
                        &address.to_string(),
                        "the router at {address} lets us not in: {obstacle:?}"
                    );
                    format!("{address}: {obstacle:?}")
                }
            }
        })
    }

    fn read<N: From<LinkNews>>(&self, mut link: Link, inbox: &Inbox<N>) {
        let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        let other = match link.read(Some(deadline)).and_then(welcomed) {
            Ok(other) => other,
            Err(error) => {
                log::debug!("a router does not answer the hello: {error:?}");
                return;
            }
        };
        let (number, tail) = (new_link(), other.tail);
        let outbox = Arc::new(Outbox::of(&link));
        inbox.put(LinkNews::Up { link: number, other, outbox }.into());
        loop {
            match link.read(None) {
                Ok(message @ (Message::ToAgent(_) | Message::BetweenRouters(_))) => {
                    inbox.put(LinkNews::Said { link: number, tail, message }.into());
                }
                Ok(message) => {
                    let name = message.name();
                    complain!(
                        Warn,
                        &tail.to_string(),
                        "ended the connection to {tail}: it sent a {name}"
                    );
                    break;
                }
                Err(LinkError::Malformed(error)) => {
                    complain!(
                        Warn,
                        &tail.to_string(),
                        "ended the connection to {tail}: it sent {error}"
                    );
                    break;
                }
                Err(LinkError::Gone { .. } | LinkError::Late | LinkError::Io(_)) => break,
            }
        }
        _ = link.stream().shutdown(Shutdown::Both);
        self.inside.lock().stream = None;
        inbox.put(LinkNews::Down { link: number, tail }.into());
    }
}

/// A random number between 0 and 1.
fn random_part() -> f64 {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}
