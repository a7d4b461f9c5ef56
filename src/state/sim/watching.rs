//! A watcher beside every world: it reads what supervisors tell watchers, as late as it likes, and
//! must never report what is not true.
//!
//! It only looks on: it has randomness of its own and changes nothing in the world. A seed tells
//! the same story with it and without.
//!
//! The promise: a watch reports an instance as gone only if it has been gone, that is dead, or
//! taken out of the registry by a supervisor; and whatever came in between, what it has reported,
//! applied in order, is the registry of the supervisor that it reads from, once it has read
//! everything.

use super::*;
use crate::event::ChangeKind;
use crate::state::view::View;
use crate::wire::News;

pub(super) struct Watching {
    random: Random,
    view: View,
    /// What has been reported, applied in order: name and life of every instance.
    held: BTreeMap<String, u64>,
    term: u64,
    source: Option<Source>,
    planned: bool,
}

/// What it reads from: a supervisor, in one of its supervisorships.
struct Source {
    server: Who,
    turn: u32,
    cursor: Cursor,
    inbox: VecDeque<News>,
}

/// So many messages wait for the watcher at most; of what happens meanwhile it is told later, and
/// of several changes of one thing once.
const ROOM: usize = 4;

impl Watching {
    pub(super) fn new(seed: u64) -> Self {
        Watching {
            random: Random(!seed),
            view: View::default(),
            held: BTreeMap::new(),
            term: 0,
            source: None,
            planned: false,
        }
    }
}

impl World {
    pub(super) fn watch_soon(&mut self) {
        if !std::mem::replace(&mut self.watching.planned, true) {
            let bits = if self.watching.random.one_in(8) { 20 } else { 12 };
            let delay = self.watching.random.time(bits);
            self.at(delay, What::Watch);
        }
    }

    /// Reads one message, or finds that the supervisor is gone, or looks for one.
    pub(super) fn watch(&mut self) {
        self.watching.planned = false;
        let Some(source) = &mut self.watching.source else { return self.begin_watching() };
        let mut changes = Vec::new();
        match source.inbox.pop_front() {
            Some(message) => {
                tell!(self, "the watcher reads {message:?}");
                assert!(self.watching.view.on(message, &mut changes), "has no place in a watch");
            }
            None if self.watched().is_none() => {
                self.watching.source = None;
                self.watching.view.lost(&mut changes);
                self.watch_soon();
            }
            None => {}
        }
        changes.into_iter().for_each(|change| self.note_change(change));
        self.tell_watcher();
        let unread = self.watching.source.as_ref().is_some_and(|source| !source.inbox.is_empty());
        if unread || self.watched().is_none() {
            self.watch_soon();
        }
    }

    /// Its connection is cut; what was on its way is lost.
    pub(super) fn cut_watch(&mut self) {
        if self.watching.source.is_some() && self.watching.random.one_in(6) {
            tell!(self, "the watch is cut");
            self.seen.watch_cut += 1;
            self.watching.source = None;
            let mut changes = Vec::new();
            self.watching.view.lost(&mut changes);
            changes.into_iter().for_each(|change| self.note_change(change));
            self.watch_soon();
        }
    }

    /// The supervisor it reads from, as long as that is one.
    fn watched(&mut self) -> Option<&mut Desk> {
        let source = self.watching.source.as_ref()?;
        let instance = &mut self.instances[source.server];
        (instance.lives() && instance.turn == source.turn).then(|| instance.desk())?
    }

    fn begin_watching(&mut self) {
        let Some((server, true)) = self.port else {
            self.watching.planned = true;
            return self.at(Time::from_millis(50), What::Watch);
        };
        let turn = self.instances[server].turn;
        let Some(Desk { supervisor, .. }) = self.instances[server].desk() else {
            self.watching.planned = true;
            return self.at(Time::from_millis(50), What::Watch);
        };
        // As `net` does it: the predecessor's end comes first.
        let mut messages: Vec<News> = supervisor.predecessor().into_iter().collect();
        self.seen.predecessor_told += messages.len() as u64;
        let cursor = supervisor.watcher_cursor();
        supervisor.list(&mut messages);
        self.watching.source = Some(Source { server, turn, cursor, inbox: messages.into() });
        self.watch_soon();
    }

    /// Tells the watcher what is new, if it has room.
    pub(super) fn tell_watcher(&mut self) {
        let room = self.watching.source.as_ref().is_some_and(|it| it.inbox.len() < ROOM);
        let Some(mut cursor) = self.watching.source.as_ref().map(|it| it.cursor.clone()) else {
            return;
        };
        let Some(desk) = self.watched().filter(|_| room) else { return };
        let mut news = Vec::new();
        desk.supervisor.news(&mut cursor, &mut news);
        let source = self.watching.source.as_mut().expect("it is watched");
        source.cursor = cursor;
        source.inbox.extend(news);
        if !source.inbox.is_empty() {
            self.watch_soon();
        }
    }

    fn note_change(&mut self, change: ChangeKind) {
        tell!(self, "the watcher reports {change:?}");
        let watching = &mut self.watching;
        match change {
            ChangeKind::Joined { entry } => {
                let before = watching.held.insert(entry.name.clone(), entry.id);
                assert!(before.is_none_or(|id| id == entry.id), "{} joined twice", entry.name);
            }
            ChangeKind::Left { name, .. } => {
                let id = watching.held.remove(&name);
                let id = id.unwrap_or_else(|| panic!("{name} left and had not joined"));
                let other = &self.instances[id as usize - 1];
                let is_so = other.was_gone || !other.lives() || self.astray;
                assert!(is_so, "the watch reports {name} as gone");
                self.seen.watched_leaving += 1;
            }
            ChangeKind::Supervisor { term, .. } => {
                assert!(term >= watching.term || self.astray, "the watch goes back to {term}");
                watching.term = term;
            }
            ChangeKind::Settled { term, members } => {
                assert_eq!((term, members as usize), (watching.term, watching.held.len()));
                self.seen.watched_settling += 1;
            }
            ChangeKind::Contending => self.seen.watched_election += 1,
        }
    }

    /// In the end it knows what the supervisor knows.
    pub(super) fn check_watch_at_the_end(&mut self) {
        let Some(Desk { supervisor, .. }) = self.watched() else { panic!("it watches nobody") };
        let registered: BTreeMap<String, u64> =
            supervisor.registry().entries().map(|one| (one.name.clone(), one.id)).collect();
        let term = supervisor.term();
        assert_eq!((&self.watching.held, self.watching.term), (&registered, term), "the watch");
    }

    /// Who was taken out of a registry by the decision that has just been made is gone, even if it
    /// lives.
    pub(super) fn note_removed(&mut self, who: Who, before: &BTreeSet<u64>) {
        let there = self.registered(who);
        for id in before - &there {
            self.instances[id as usize - 1].was_gone = true;
        }
        self.note_there(&there);
    }

    /// Whose name another has by now is gone, too.
    pub(super) fn note_there(&mut self, there: &BTreeSet<u64>) {
        there.iter().for_each(|&id| self.instances[id as usize - 1].registered = true);
        if self.namesakes {
            let names: BTreeMap<String, u64> = there
                .iter()
                .map(|&id| (self.instances[id as usize - 1].entry.name.clone(), id))
                .collect();
            for instance in &mut self.instances {
                let now = names.get(&instance.entry.name);
                instance.was_gone |= now.is_some_and(|&id| id != instance.entry.id);
            }
        }
    }

    /// Who is not in the registry of a settled supervisor is gone, even if it lives.
    pub(super) fn note_missing(&mut self, who: Who) {
        let there = self.registered(who);
        for instance in &mut self.instances {
            instance.was_gone |= instance.registered && !there.contains(&instance.entry.id);
        }
    }

    pub(super) fn registered(&mut self, who: Who) -> BTreeSet<u64> {
        let desk = self.instances[who].desk();
        desk.map(|desk| desk.supervisor.registry().entries().map(|entry| entry.id).collect())
            .unwrap_or_default()
    }
}
