//! Following: reading what the supervisor tells, until it is gone.

use super::super::presence::{Place, Wait};
use super::Duty;
use crate::net::rt::complaint::complain;
use crate::net::rt::threads;
use crate::net::supervising::watchdog::{self, Watchdog};
use crate::net::transport::descriptors;
use crate::net::transport::link::LinkError;
use crate::state::member::{Heard, Outcome};

impl Duty {
    /// Reads what the supervisor tells until it is gone.
    pub(super) fn follow(&mut self) -> Outcome {
        let shared = self.shared.clone();
        let known = shared.holding.look(|member| member.known().cloned());
        let (Some(lifeline), Some(known)) = (self.lifeline.take(), known) else {
            return Outcome::LifelineEnded { sure: false };
        };
        self.prepare(known.members);
        let mut sure = false;
        if self.wait_on(Wait::Stream(lifeline.stream().clone())) {
            let say = |message| shared.holding.say_aside(message);
            let report = |event| shared.presence.emit(event);
            let mut watchdog = shared.hang_timeout.map(|timeout| {
                let end = shared.end_hung_supervisor;
                Watchdog::new(known.supervisor, timeout, &say, &report, end)
            });
            let mut reader = lifeline.reader();
            let broke = |detail: &str| {
                let name = &shared.me.name;
                complain!(
                    Warn,
                    name,
                    "{name}: cut off a supervisor that broke the protocol{detail}"
                );
            };
            loop {
                let message = match watchdog::read(&mut reader, &mut watchdog) {
                    Ok(message) => message,
                    Err(LinkError::Malformed(error)) => {
                        broke(&format!(": {error}"));
                        break;
                    }
                    Err(LinkError::Gone { reset }) => {
                        sure = !reset;
                        break;
                    }
                    Err(LinkError::Late | LinkError::Io(_)) => break,
                };
                match shared.holding.hear(message) {
                    Heard::Quiet | Heard::Held(..) => {}
                    Heard::State => self.on_state(),
                    Heard::Probed { number, within_ns } => {
                        shared.holding.say_aside(shared.pulse.answer(number, within_ns));
                    }
                    Heard::Answer(_) | Heard::Nonsense => {
                        broke("");
                        break;
                    }
                }
            }
        }
        if !self.wait_on(Wait::Bell) {
            shared.holding.say_goodbye();
            return Outcome::Halted;
        }
        shared.holding.lost();
        Outcome::LifelineEnded { sure }
    }

    /// Has room made for the descriptors that this instance would need as supervisor of so many,
    /// besides what its program has open. This must not run on this thread, which must learn of a
    /// death at once.
    fn prepare(&self, members: u32) {
        if self.shared.terms.is_none() {
            return;
        }
        let wanted =
            (i32::try_from(members).unwrap_or(i32::MAX).saturating_add(64)).saturating_mul(2);
        if let Some(wanted) = descriptors::wants_room(wanted) {
            // Without a thread for it the next failover is a little slower, nothing else.
            _ = self.helpers.spawn(threads::ROOM, move || descriptors::make_room(wanted));
        }
    }

    fn on_state(&self) {
        let Some(known) = self.shared.holding.look(|member| member.known().cloned()) else {
            return;
        };
        self.prepare(known.members);
        self.shared.presence.change(|inside| {
            inside.term = known.term;
            if known.settled {
                inside.settle(known.term, known.members);
            }
            inside.place = Place::Subordinate(known);
        });
    }
}
