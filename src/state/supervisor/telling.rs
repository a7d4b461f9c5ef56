//! Decides what a supervisor tells its members and its watchers of the group.

use super::*;
use crate::wire::{Joining, News};

impl Supervisor {
    /// Returns the first messages of every answer about the registry.
    pub(crate) fn listing(&self, count: usize) -> News {
        News::Listing {
            term: self.term,
            settled: self.settled(),
            supervisor: self.name.clone(),
            count: count as u32,
        }
    }

    /// Answers a registry question with as many messages as it takes.
    pub(crate) fn look_up<M: From<News>>(&self, name: &str, out: &mut Vec<M>) {
        let name = if name == "main" { &self.name } else { name };
        let found = self.registry.entry(name);
        out.push(self.listing(usize::from(found.is_some())).into());
        out.extend(found.map(|entry| News::Member { entry: entry.clone() }.into()));
    }

    /// Returns the whole registry.
    pub(crate) fn list<M: From<News>>(&self, out: &mut Vec<M>) {
        out.push(self.listing(self.registry.len()).into());
        let entries = self.registry.entries();
        out.extend(entries.map(|entry| News::Member { entry: entry.clone() }.into()));
    }

    /// Grows with every change that all members must hear of.
    pub(crate) fn state_version(&self) -> u64 {
        self.state_version
    }

    /// Returns the end of the previous supervisor, for a watcher that may have known it: this is
    /// the only end that the registry's changes lack, because this supervisor did not see it
    /// itself. Returns `None` while another life of that name is here: the listing shows that.
    pub(crate) fn predecessor(&self) -> Option<News> {
        let (name, cause) = self.predecessor.clone()?;
        self.registry.entry(&name).is_none().then_some(News::Left { name, cause })
    }

    /// Returns a cursor for a subordinate that is welcomed now.
    pub(crate) fn member_cursor(&self) -> Cursor {
        Cursor { state: self.state_version, registry: None }
    }

    /// Returns a cursor for a watcher that has been given [`list`](Supervisor::list) now.
    pub(crate) fn watcher_cursor(&self) -> Cursor {
        Cursor { state: self.state_version, registry: Some(self.registry.version()) }
    }

    /// Returns what the holder of `cursor` has not been told yet, and moves the cursor on. Several
    /// changes of one thing in the meantime are one message.
    pub(crate) fn news(&self, cursor: &mut Cursor, out: &mut Vec<News>) {
        if let Some(seen) = &mut cursor.registry {
            match self.registry.since(*seen) {
                Some(changes) => out.extend(changes.map(|change| match change {
                    Change::Joined(entry) => News::Joined { entry: entry.clone() },
                    Change::Left(name, cause) => News::Left { name: name.clone(), cause: *cause },
                })),
                None => self.list(out),
            }
            *seen = self.registry.version();
        }
        if cursor.state != self.state_version {
            cursor.state = self.state_version;
            out.push(News::State {
                term: self.term,
                settled: self.settled(),
                members: self.registry.len() as u32,
            });
        }
    }

    pub(super) fn announce_state(&mut self, actions: &mut Vec<ServerAction>) {
        self.state_version += 1;
        self.tell_size_at = CROWD.max(self.registry.len() * 2);
        actions.push(ServerAction::Announce);
    }

    pub(super) fn welcome(&self) -> Joining {
        Joining::Welcome {
            term: self.term,
            supervisor: self.name.clone(),
            supervisor_admin_port: self.admin_port,
            registry_port: self.registry_port,
            settled: self.settled(),
            members: self.registry.len() as u32,
        }
    }
}
