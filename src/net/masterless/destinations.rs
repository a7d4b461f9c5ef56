//! The addresses to which heartbeats go one by one: those that the user gave, those of the names at
//! present, and those from which other members of the group are heard. No clock, no thread.
//!
//! A member that comes back with another address is heard before its name is looked up again, and
//! before name servers know the address. If it got no answer, it would think itself alone, and be a
//! second primary. Heartbeats therefore also go to each address from which the group is heard, for
//! as long as it is heard; a heartbeat proves that if the group's key seals it and it is no copy of
//! an earlier one. This takes nothing away from anybody: a process that passes on the heartbeats of
//! others gets those of this process as well.

use std::net::SocketAddr;

use super::Millis;
use crate::config::masterless::{
    Destination, LOOK_UP_AGAIN, LOOK_UP_AT_LEAST, MAX_DESTINATIONS, SILENT_ADDRESS, host_and_port,
};
use crate::sys::Unresolved;

pub(super) struct Destinations {
    /// After this long without a heartbeat from there, an address is silent.
    patience: Millis,
    given: Vec<SocketAddr>,
    names: Vec<Name>,
    /// The members heard from addresses that nobody gave.
    guests: Vec<Address>,
    /// They have changed since the last question.
    changed: bool,
    is_full: bool,
}

/// A name to be looked up, by its number.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) name: usize,
    pub(super) host: String,
    pub(super) port: u16,
}

struct Name {
    host: String,
    port: u16,
    places: Vec<Address>,
    known: Known,
    /// The last reason for which it has no address, as far as it was logged.
    said: Vec<Known>,
    /// A look-up is under way.
    is_asked: bool,
    ask_at: Millis,
    pause: Millis,
}

/// The result of the last look-up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// There was none yet.
    Nothing,
    Addresses,
    /// There is no such name, or it has no address.
    Absent,
    /// No name server could answer.
    Unclear,
}

struct Address {
    address: SocketAddr,
    /// Unless it is silent.
    heard: Option<Millis>,
}

impl Address {
    fn is_silent(&self, now: Millis, patience: Millis) -> bool {
        self.heard.is_none_or(|heard| heard + patience <= now)
    }
}

impl Destinations {
    pub(super) fn new(peers: &[Destination], interval: Millis, now: Millis) -> Self {
        let mut given = Vec::new();
        let mut names: Vec<Name> = Vec::new();
        for peer in peers {
            match peer {
                Destination::Address(address) => given.push(*address),
                Destination::Name(text) => {
                    names.extend(host_and_port(text).map(|(host, port)| Name::new(host, port, now)))
                }
            }
        }
        let patience = SILENT_ADDRESS.as_millis() as Millis;
        let patience = patience.max(3 * interval);
        Destinations { patience, given, names, guests: Vec::new(), changed: true, is_full: false }
    }

    /// Returns all addresses, if they have changed since the last time.
    pub(super) fn changed(&mut self) -> Option<Vec<SocketAddr>> {
        std::mem::take(&mut self.changed).then(|| self.all())
    }

    /// Notes an address from which a member was heard, with a heartbeat that nobody had heard
    /// before.
    pub(super) fn heard(&mut self, from: SocketAddr, now: Millis) {
        let mut is_given = self.given.contains(&from);
        for place in self
            .names
            .iter_mut()
            .flat_map(|name| &mut name.places)
            .filter(|place| place.address == from)
        {
            place.heard = Some(now);
            is_given = true;
        }
        if is_given {
            return;
        }
        if let Some(guest) = self.guests.iter_mut().find(|guest| guest.address == from) {
            guest.heard = Some(now);
        } else if self.guests.len() < MAX_DESTINATIONS {
            log::debug!("a peer of the group is also at {from}");
            self.guests.push(Address { address: from, heard: Some(now) });
            self.changed = true;
        }
    }

    /// Returns when there is something to do here, if nobody is heard.
    pub(super) fn wake_at(&self) -> Millis {
        let silent = |place: &Address| place.heard.map(|heard| heard + self.patience);
        let names = self.names.iter().filter(|name| !name.is_asked);
        let names =
            names.flat_map(|name| name.places.iter().filter_map(silent).chain([name.ask_at]));
        names.chain(self.guests.iter().filter_map(silent)).min().unwrap_or(Millis::MAX)
    }

    /// Forgets guests that are silent. Returns the names to look up now: those whose time has come,
    /// or of which an address has fallen silent.
    pub(super) fn questions(&mut self, now: Millis) -> Vec<Question> {
        let before = self.guests.len();
        self.guests.retain(|guest| !guest.is_silent(now, self.patience));
        self.changed |= self.guests.len() < before;
        let mut questions = Vec::new();
        for (number, name) in self.names.iter_mut().enumerate().filter(|(_, name)| !name.is_asked) {
            if name.note_silence(now, self.patience) || now >= name.ask_at {
                name.is_asked = true;
                questions.push(Question { name: number, host: name.host.clone(), port: name.port });
            }
        }
        questions
    }

    /// Takes the result of the look-up of a name. A result without an address takes none away.
    pub(super) fn answer(
        &mut self,
        name: usize,
        answer: Result<Vec<SocketAddr>, Unresolved>,
        now: Millis,
    ) {
        let name = &mut self.names[name];
        name.is_asked = false;
        let news = match answer {
            Ok(addresses) => name.move_to(&addresses),
            Err(error) => name.complain(&error),
        };
        self.changed |= news;
        let (first, most) =
            (LOOK_UP_AGAIN.as_millis() as Millis, LOOK_UP_AT_LEAST.as_millis() as Millis);
        name.pause = if news { first } else { (2 * name.pause).clamp(first, most) };
        name.ask_at = now + name.pause;
    }

    /// Returns true if this process knows enough to speak, and to think itself alone if nobody
    /// answers: all names were looked up, and none without a result could be the only other
    /// process. That a name does not exist is a result: its machine is not started, just as one
    /// with an address may not be.
    pub(super) fn are_known(&self, others: bool) -> bool {
        let unclear = |name: &Name| name.known == Known::Unclear && name.places.is_empty();
        self.names.iter().all(|name| name.known != Known::Nothing && (others || !unclear(name)))
    }

    /// Given addresses come first. Of the names, the first address of each follows, then the second
    /// of each, and so on: a name with hundreds of addresses leaves room for others.
    fn all(&mut self) -> Vec<SocketAddr> {
        let most = self.names.iter().map(|name| name.places.len()).max().unwrap_or(0);
        let nth = |n: usize| self.names.iter().filter_map(move |name| name.places.get(n));
        let places = (0..most).flat_map(nth).chain(&self.guests).map(|place| place.address);
        let mut all = Vec::new();
        for address in self.given.iter().copied().chain(places) {
            if !all.contains(&address) {
                all.push(address);
            }
        }
        if all.len() > MAX_DESTINATIONS {
            if !std::mem::replace(&mut self.is_full, true) {
                log::warn!(
                    "the peers have {} addresses; heartbeats go to only {MAX_DESTINATIONS} of them",
                    all.len()
                );
            }
            all.truncate(MAX_DESTINATIONS);
        }
        all
    }
}

impl Name {
    fn new(host: &str, port: u16, now: Millis) -> Self {
        Name {
            host: host.to_owned(),
            port,
            places: Vec::new(),
            known: Known::Nothing,
            said: Vec::new(),
            is_asked: false,
            ask_at: now,
            pause: 0,
        }
    }

    /// Returns true if an address has fallen silent since the last time.
    fn note_silence(&mut self, now: Millis, patience: Millis) -> bool {
        let mut fallen = false;
        for place in self
            .places
            .iter_mut()
            .filter(|place| place.heard.is_some() && place.is_silent(now, patience))
        {
            place.heard = None;
            fallen = true;
        }
        fallen
    }

    /// Takes the name's addresses. Keeps those from which somebody is still heard, because many
    /// name servers return some of all each time. Returns true if an address is new.
    fn move_to(&mut self, addresses: &[SocketAddr]) -> bool {
        let before: Vec<SocketAddr> = self.places.iter().map(|place| place.address).collect();
        self.places.retain(|place| place.heard.is_some() || addresses.contains(&place.address));
        let new = addresses.iter().filter(|address| !before.contains(address));
        self.places.extend(new.map(|address| Address { address: *address, heard: None }));
        let now: Vec<SocketAddr> = self.places.iter().map(|place| place.address).collect();
        let is_new = before != now;
        if is_new || self.known != Known::Addresses {
            log::info!("the peer {}:{} is at {}", self.host, self.port, list(&now));
        }
        self.known = Known::Addresses;
        is_new
    }

    /// Logs that the name has no address: once, and once more if it turns out later that the name
    /// does not exist. Returns true if it had been found before.
    fn complain(&mut self, error: &Unresolved) -> bool {
        let now = if error.is_absent { Known::Absent } else { Known::Unclear };
        let before = std::mem::replace(&mut self.known, now);
        let (host, port, why) = (&self.host, self.port, &error.why);
        if !self.places.is_empty() {
            if before == Known::Addresses {
                log::info!(
                    "cannot look up the peer {host}:{port} again: {why}; using its last addresses"
                );
            }
        } else if !self.said.contains(&now) {
            self.said.push(now);
            log::warn!("cannot find the peer {host}:{port}: {why}; trying again");
        }
        before == Known::Addresses
    }
}

fn list(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn begin(peers: &[&str]) -> Destinations {
        let peers: Vec<Destination> = peers.iter().map(|peer| Destination::new(*peer)).collect();
        Destinations::new(&peers, 200, 0)
    }

    fn asked(them: &mut Destinations, now: Millis) -> Vec<usize> {
        them.questions(now).iter().map(|question| question.name).collect()
    }

    fn found<const N: usize>(addresses: [&str; N]) -> Result<Vec<SocketAddr>, Unresolved> {
        Ok(addresses.map(at).to_vec())
    }

    fn failed(is_absent: bool) -> Result<Vec<SocketAddr>, Unresolved> {
        Err(Unresolved { is_absent, why: "nobody knows".into() })
    }

    #[test]
    fn all_addresses_of_all_names_are_sent_to_once() {
        let mut them = begin(&["10.0.0.9:1", "one:1", "two:1"]);
        assert_eq!(them.changed().unwrap(), [at("10.0.0.9:1")]);
        let port_and_host = |it: &Question| (it.host.clone(), it.port);
        let questions: Vec<_> = them.questions(0).iter().map(port_and_host).collect();
        assert_eq!(questions, [("one".to_owned(), 1), ("two".to_owned(), 1)]);
        assert_eq!(asked(&mut them, 60_000), [], "they are being looked up");
        them.answer(0, found(["10.0.0.1:1", "10.0.0.2:1"]), 5);
        them.answer(1, found(["10.0.0.9:1", "10.0.0.2:1", "10.0.0.3:1"]), 5);
        let all = ["10.0.0.9:1", "10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"].map(at);
        assert_eq!(them.changed().unwrap(), all);
        assert_eq!(them.changed(), None, "they are the same");
    }

    #[test]
    fn a_name_is_looked_up_ever_more_rarely_and_often_again_after_something_new() {
        let mut them = begin(&["one:1"]);
        let mut now = 0;
        let mut pauses = Vec::new();
        for round in 0..9 {
            assert_eq!(asked(&mut them, now), [0]);
            them.answer(0, if round < 8 { failed(true) } else { found(["10.0.0.1:1"]) }, now);
            pauses.push(them.wake_at() - now);
            let next = them.wake_at();
            assert_eq!(asked(&mut them, next - 1), []);
            now = next;
        }
        assert_eq!(pauses, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000, 1000]);
    }

    #[test]
    fn a_name_is_looked_up_as_soon_as_an_address_falls_silent() {
        let mut them = begin(&["one:1"]);
        for now in [0, 1000, 3000, 7000, 15_000, 31_000] {
            assert_eq!(asked(&mut them, now), [0]);
            them.answer(0, found(["10.0.0.1:1"]), now);
        }
        assert_eq!(them.wake_at(), 61_000, "one that is never heard is not one that fell silent");
        them.heard(at("10.0.0.1:1"), 32_000);
        assert_eq!((them.wake_at(), asked(&mut them, 36_999)), (37_000, vec![]));
        assert_eq!(asked(&mut them, 37_000), [0]);
        them.answer(0, found(["10.0.0.1:1"]), 37_000);
        assert_eq!(asked(&mut them, 38_000), [], "it is as silent as before");
    }

    #[test]
    fn who_is_heard_from_elsewhere_is_sent_to_for_as_long_as_it_is_heard() {
        let mut them = begin(&["10.0.0.9:1"]);
        assert_eq!(them.wake_at(), Millis::MAX, "there is nothing to do");
        them.changed();
        them.heard(at("10.0.0.9:1"), 0);
        assert_eq!(them.changed(), None);
        them.heard(at("10.0.0.8:1"), 0);
        assert_eq!(them.changed().unwrap(), ["10.0.0.9:1", "10.0.0.8:1"].map(at));
        them.heard(at("10.0.0.8:1"), 4000);
        assert_eq!((them.questions(8999), them.changed(), them.wake_at()), (vec![], None, 9000));
        them.questions(9000);
        assert_eq!(them.changed().unwrap(), [at("10.0.0.9:1")]);
    }

    #[test]
    fn an_address_that_its_name_no_longer_has_is_sent_to_until_it_is_silent() {
        let mut them = begin(&["one:1"]);
        them.questions(0);
        them.answer(0, found(["10.0.0.1:1", "10.0.0.2:1"]), 0);
        them.heard(at("10.0.0.1:1"), 500);
        assert_eq!(asked(&mut them, 1000), [0]);
        them.answer(0, found(["10.0.0.3:1"]), 1000);
        assert_eq!(them.changed().unwrap(), ["10.0.0.1:1", "10.0.0.3:1"].map(at));
        assert_eq!(asked(&mut them, 5500), [0]);
        them.answer(0, found(["10.0.0.3:1"]), 5500);
        assert_eq!(them.changed().unwrap(), [at("10.0.0.3:1")]);
    }

    #[test]
    fn what_cannot_be_looked_up_any_more_keeps_its_addresses() {
        let mut them = begin(&["one:1"]);
        them.questions(0);
        them.answer(0, found(["10.0.0.1:1"]), 0);
        for (now, is_absent) in [(1000, true), (3000, false)] {
            asked(&mut them, now);
            them.answer(0, failed(is_absent), now);
            assert_eq!((them.all(), them.are_known(false)), (vec![at("10.0.0.1:1")], true));
        }
    }

    #[test]
    fn nobody_is_alone_before_all_were_looked_up_or_while_nobody_can_say_where_others_are() {
        let mut them = begin(&["one:1", "two:1"]);
        assert!(!them.are_known(true) && !them.are_known(false));
        them.questions(0);
        them.answer(0, failed(true), 0);
        assert!(!them.are_known(true), "one of them is still being looked up");
        them.answer(1, failed(false), 0);
        assert!(them.are_known(true) && !them.are_known(false), "two may be there");
        them.questions(1000);
        them.answer(1, failed(true), 1000);
        assert!(them.are_known(false), "there is no two");
        assert!(begin(&["10.0.0.9:1"]).are_known(false), "there is nothing to look up");
    }

    #[test]
    fn a_name_with_too_many_addresses_leaves_room_for_others() {
        let mut them = begin(&["one:1", "two:1", "10.9.0.9:1"]);
        them.questions(0);
        let many =
            (0..MAX_DESTINATIONS).map(|n| SocketAddr::from(([10, 0, 1, n as u8], 1))).collect();
        them.answer(0, Ok(many), 0);
        them.answer(1, found(["10.0.0.2:1"]), 0);
        let all = them.changed().unwrap();
        assert_eq!(all.len(), MAX_DESTINATIONS);
        assert!(
            all.contains(&at("10.0.0.2:1"))
                && all.contains(&at("10.9.0.9:1"))
                && all.contains(&at("10.0.1.0:1"))
        );
        for n in 0..1000_u16 {
            them.heard(SocketAddr::from(([10, 1, 0, 1], 1 + n)), 0);
        }
        assert_eq!((them.guests.len(), them.all().len()), (MAX_DESTINATIONS, MAX_DESTINATIONS));
    }
}
