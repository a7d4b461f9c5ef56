//! Decides what a receiver that does not read in time is not sent: it gets the newest state when it
//! reads again.
//!
//! A message that carries a state (rosters, settings) is left out while the kernel has no room for
//! more, which keeps a receiver that never reads from costing memory. A message about a moment that
//! will have passed by then is left out for good.

use crate::wire::{Control, Message, ToHolder};

#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// The kernel had no room for all that was sent.
    is_blocked: bool,
    /// Rosters were left out; the receiver needs a whole one.
    roster: bool,
    /// Settings were left out; the receiver needs all of them.
    settings: bool,
}

/// What was left out, and must be sent in its newest state.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub(crate) roster: bool,
    pub(crate) settings: bool,
}

impl Backlog {
    /// Notes whether the kernel has taken all that there was to send.
    pub(crate) fn flushed(&mut self, all: bool) {
        self.is_blocked = !all;
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Returns true if the message must not be sent now, and remembers what is missing then.
    pub(crate) fn can_wait(&mut self, message: &Message) -> bool {
        match message {
            Message::Control(Control::Roster { .. }) => self.roster |= self.is_blocked,
            Message::ToHolder(ToHolder::Setting { .. }) => self.settings |= self.is_blocked,
            Message::ToHolder(ToHolder::OverLimit { .. }) => {}
            _ => return false,
        }
        self.is_blocked
    }

    /// Takes what was left out: the caller sends it.
    pub(crate) fn take_missing(&mut self) -> LeftOut {
        LeftOut {
            roster: std::mem::take(&mut self.roster),
            settings: std::mem::take(&mut self.settings),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Scope, Setting};

    fn setting() -> Message {
        Message::ToHolder(ToHolder::Setting {
            setting: Setting {
                scope: Scope::Program,
                key: "k".into(),
                value: None,
                term: 1,
                sequence: 1,
            },
        })
    }

    fn over_limit() -> Message {
        Message::ToHolder(ToHolder::OverLimit { resource: "db".into(), in_use: 2, limit: 1 })
    }

    #[test]
    fn one_who_reads_is_told_everything_at_once() {
        let mut backlog = Backlog::default();
        for message in [setting(), over_limit(), Message::ToHolder(ToHolder::Granted { id: 1 })] {
            assert!(!backlog.can_wait(&message), "{message:?}");
        }
        assert_eq!(backlog.take_missing(), LeftOut { roster: false, settings: false });
    }

    #[test]
    fn one_who_does_not_read_gets_answers_and_later_the_newest_state() {
        let mut backlog = Backlog::default();
        backlog.flushed(false);
        assert!(backlog.is_blocked());
        assert!(backlog.can_wait(&setting()) && backlog.can_wait(&over_limit()));
        assert!(
            !backlog.can_wait(&Message::ToHolder(ToHolder::Granted { id: 1 })),
            "nobody else would say it again"
        );
        backlog.flushed(true);
        assert!(!backlog.is_blocked() && !backlog.can_wait(&setting()));
        assert_eq!(backlog.take_missing(), LeftOut { roster: false, settings: true });
        assert_eq!(backlog.take_missing(), LeftOut { roster: false, settings: false });
    }
}
