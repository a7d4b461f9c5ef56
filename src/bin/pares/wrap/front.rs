//! What the front decides: `pares run` as a shell or a service manager sees it. Pure: events and
//! who has the terminal come in, deeds go out.

use libc::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGSTOP, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU};

use super::words::Word;

/// What happens to the front.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// A signal has come to `pares run`.
    Signal(i32),
    /// The guard says something.
    Heard(Word),
    /// The guard stands still, so that it cannot know what it has lost.
    GuardStopped,
    /// The guard has said nothing for as long as CMD may go on without its word.
    LeaseOver,
}

/// Whose process group may read from the controlling terminal, and gets the signals of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Terminal {
    /// There is none.
    None,
    Front,
    Command,
    /// Another job's: this one is in the background.
    Other,
}

/// What is to be done, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Tell(Word),
    /// Send a signal to all of CMD's process group.
    Send(i32),
    /// Have the guard go on, if somebody has stopped it.
    WakeGuard,
    GiveTerminal,
    TakeTerminal,
    /// Stop by this signal, which nobody but `pares run` was sent.
    Stop(i32),
    /// Stop by this signal, with the whole job: the terminal would have sent it to all of it, had
    /// CMD been in its group.
    StopJob(i32),
    /// The service manager may hear that the role or permit is held.
    SayReady,
}

/// What the front knows.
#[derive(Debug, Default)]
pub(super) struct Front {
    /// CMD has been started.
    begun: bool,
    /// The stop signals that `pares run` has passed on, and CMD has not followed yet.
    passed_on: Option<i32>,
    /// CMD stands still, by a signal that is not the front's own.
    stopped: bool,
    /// CMD stands still until the guard is sure.
    frozen: bool,
    /// CMD is to have the terminal as soon as this job is in the foreground.
    wants_terminal: bool,
}

impl Front {
    pub(super) fn on(&mut self, event: Event, terminal: Terminal) -> Vec<Deed> {
        match event {
            Event::Signal(signal) => self.on_signal(signal, terminal),
            Event::GuardStopped | Event::LeaseOver if self.begun && !self.frozen => {
                self.frozen = true;
                vec![Deed::Send(SIGSTOP), Deed::Tell(Word::Frozen)]
            }
            Event::GuardStopped | Event::LeaseOver => vec![],
            Event::Heard(Word::Ready(_)) => {
                self.begun = true;
                vec![Deed::SayReady, Deed::Tell(Word::Go)]
            }
            Event::Heard(Word::Stopped(signal)) => self.on_stop(signal, terminal),
            Event::Heard(Word::Continued) => {
                self.stopped = false;
                vec![]
            }
            Event::Heard(Word::Sure) if self.frozen => {
                self.frozen = false;
                if self.stopped { vec![] } else { vec![Deed::Tell(Word::Signal(SIGCONT))] }
            }
            // For the guard, or of no consequence here.
            Event::Heard(
                Word::Sure
                | Word::Lease(_)
                | Word::Ended(_)
                | Word::Signal(_)
                | Word::Go
                | Word::Frozen,
            ) => {
                vec![]
            }
        }
    }

    fn on_signal(&mut self, signal: i32, terminal: Terminal) -> Vec<Deed> {
        let stops = is_job_control(signal);
        if !self.begun {
            // There is no CMD to pass it on to. None begins while the front stands still.
            return if stops {
                vec![Deed::Stop(signal)]
            } else {
                vec![Deed::Tell(Word::Signal(signal))]
            };
        }
        let mut deeds = Vec::new();
        if stops {
            self.passed_on = Some(signal);
        } else if signal == SIGCONT {
            self.passed_on = None;
            if self.wants_terminal && terminal == Terminal::Front {
                self.wants_terminal = false;
                deeds.push(Deed::GiveTerminal);
            }
        } else if [SIGINT, SIGTERM, SIGHUP, SIGQUIT].contains(&signal) {
            deeds.push(Deed::WakeGuard); // or it would not hear of it
        }
        deeds.push(Deed::Tell(Word::Signal(signal)));
        deeds
    }

    fn on_stop(&mut self, signal: i32, terminal: Terminal) -> Vec<Deed> {
        if self.frozen && signal == SIGSTOP {
            return vec![];
        }
        self.stopped = true;
        let asked = self.passed_on.take();
        match (asked, terminal) {
            // Whoever sent it to `pares run` wants both to stand still.
            // (It has gone to CMD alone: now the rest of its group.)
            (Some(signal), Terminal::Command) => {
                self.wants_terminal = true;
                vec![Deed::TakeTerminal, Deed::Send(SIGSTOP), Deed::Stop(signal)]
            }
            (Some(signal), Terminal::None | Terminal::Front | Terminal::Other) => {
                vec![Deed::Send(SIGSTOP), Deed::Stop(signal)]
            }
            // It wanted the terminal a moment before it got it.
            (None, Terminal::Command) if [SIGTTIN, SIGTTOU].contains(&signal) => {
                vec![Deed::Tell(Word::Signal(SIGCONT))]
            }
            // Ctrl-Z, or its own way to the same end.
            (None, Terminal::Command) => {
                self.wants_terminal = true;
                vec![Deed::TakeTerminal, Deed::StopJob(SIGTSTP)]
            }
            (None, Terminal::Front) if [SIGTTIN, SIGTTOU].contains(&signal) => {
                vec![Deed::GiveTerminal, Deed::Tell(Word::Signal(SIGCONT))]
            }
            (None, Terminal::Other) if [SIGTTIN, SIGTTOU].contains(&signal) => {
                self.wants_terminal = true;
                vec![Deed::StopJob(signal)]
            }
            // Somebody has stopped CMD alone, and knows how to have it go on.
            (None, Terminal::None | Terminal::Front | Terminal::Other) => vec![],
        }
    }
}

fn is_job_control(signal: i32) -> bool {
    [SIGTSTP, SIGTTIN, SIGTTOU].contains(&signal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use libc::{SIGUSR1, SIGWINCH};

    fn begun() -> Front {
        let mut front = Front::default();
        front.on(Event::Heard(Word::Ready(7)), Terminal::Front);
        front
    }

    #[track_caller]
    fn check(front: &mut Front, event: Event, terminal: Terminal, deeds: &[Deed]) {
        assert_eq!(front.on(event, terminal), deeds, "{event:?}, terminal: {terminal:?}");
    }

    #[test]
    fn the_command_begins_only_when_the_front_runs() {
        let mut front = Front::default();
        check(&mut front, Event::Signal(SIGTSTP), Terminal::Front, &[Deed::Stop(SIGTSTP)]);
        let ready = Event::Heard(Word::Ready(7));
        check(&mut front, ready, Terminal::Front, &[Deed::SayReady, Deed::Tell(Word::Go)]);
    }

    #[test]
    fn every_signal_is_passed_on() {
        for signal in [SIGUSR1, SIGWINCH, 37, SIGCONT] {
            check(
                &mut begun(),
                Event::Signal(signal),
                Terminal::None,
                &[Deed::Tell(Word::Signal(signal))],
            );
        }
        let deeds = [Deed::WakeGuard, Deed::Tell(Word::Signal(SIGTERM))];
        check(&mut begun(), Event::Signal(SIGTERM), Terminal::None, &deeds);
    }

    #[test]
    fn the_front_stops_only_after_the_command() {
        let mut front = begun();
        check(
            &mut front,
            Event::Signal(SIGTSTP),
            Terminal::Front,
            &[Deed::Tell(Word::Signal(SIGTSTP))],
        );
        check(
            &mut front,
            Event::Heard(Word::Stopped(SIGTSTP)),
            Terminal::Front,
            &[Deed::Send(SIGSTOP), Deed::Stop(SIGTSTP)],
        );
        // Continued by a shell, it has CMD go on.
        check(
            &mut front,
            Event::Signal(SIGCONT),
            Terminal::Front,
            &[Deed::Tell(Word::Signal(SIGCONT))],
        );
    }

    #[test]
    fn the_terminal_goes_to_the_command_when_it_wants_it() {
        let mut front = begun();
        let deeds = [Deed::GiveTerminal, Deed::Tell(Word::Signal(SIGCONT))];
        check(&mut front, Event::Heard(Word::Stopped(SIGTTIN)), Terminal::Front, &deeds);
        // Ctrl-Z there stops the whole job; in the foreground again, CMD has the terminal again.
        let deeds = [Deed::TakeTerminal, Deed::StopJob(SIGTSTP)];
        check(&mut front, Event::Heard(Word::Stopped(SIGTSTP)), Terminal::Command, &deeds);
        let deeds = [Deed::GiveTerminal, Deed::Tell(Word::Signal(SIGCONT))];
        check(&mut front, Event::Signal(SIGCONT), Terminal::Front, &deeds);
        // In the background it waits as any other job does.
        check(
            &mut front,
            Event::Heard(Word::Stopped(SIGTTOU)),
            Terminal::Other,
            &[Deed::StopJob(SIGTTOU)],
        );
        check(
            &mut front,
            Event::Signal(SIGCONT),
            Terminal::Other,
            &[Deed::Tell(Word::Signal(SIGCONT))],
        );
        check(&mut front, Event::Heard(Word::Stopped(SIGTTIN)), Terminal::None, &[]);
    }

    #[test]
    fn the_command_stands_still_while_the_guard_does() {
        let mut front = begun();
        let freeze = [Deed::Send(SIGSTOP), Deed::Tell(Word::Frozen)];
        check(&mut front, Event::GuardStopped, Terminal::None, &freeze);
        check(&mut front, Event::Heard(Word::Stopped(SIGSTOP)), Terminal::None, &[]);
        check(&mut front, Event::LeaseOver, Terminal::None, &[]);
        check(
            &mut front,
            Event::Heard(Word::Sure),
            Terminal::None,
            &[Deed::Tell(Word::Signal(SIGCONT))],
        );
        check(&mut front, Event::Heard(Word::Sure), Terminal::None, &[]);
        // One that the user has stopped stays so.
        check(&mut front, Event::Heard(Word::Stopped(SIGSTOP)), Terminal::None, &[]);
        check(&mut front, Event::LeaseOver, Terminal::None, &freeze);
        check(&mut front, Event::Heard(Word::Sure), Terminal::None, &[]);
        check(&mut Front::default(), Event::GuardStopped, Terminal::None, &[]);
    }
}
