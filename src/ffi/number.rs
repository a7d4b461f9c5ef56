//! The enums that C knows by number: each variant's number, its constant in the headers, and its
//! word. `header` holds the headers to this table. A number is never given a second meaning.

use std::ffi::{CStr, c_char, c_int};

use crate::event::masterless::{self, RoleCause, SuspicionCause};
use crate::event::{ContendingCause, EventKind, Role, StallCause};
use crate::wire::{ElectionCause, Policy, heartbeat};

/// One variant, as C knows it.
pub(super) struct Numbered {
    pub(super) number: c_int,
    #[cfg(test)]
    pub(super) constant: &'static str,
    word: &'static CStr,
}

/// An enum that C knows by number.
pub(super) trait CEnum: 'static {
    const ALL: &'static [Numbered];

    fn number(&self) -> c_int;
}

/// The word for a number that C gives.
pub(super) fn word<E: CEnum>(number: c_int, unknown: &'static CStr) -> *const c_char {
    E::ALL.iter().find(|one| one.number == number).map_or(unknown, |one| one.word).as_ptr()
}

macro_rules! c_enum {
    ($($enum:ty { $($number:literal $variant:ident $constant:ident $word:literal,)* })*) => {$(
        impl CEnum for $enum {
            const ALL: &'static [Numbered] = &[$(Numbered {
                number: $number,
                #[cfg(test)]
                constant: stringify!($constant),
                word: $word,
            }),*];

            fn number(&self) -> c_int {
                match self {
                    $(Self::$variant { .. } => $number,)*
                }
            }
        }
    )*};
}

c_enum! {
    Role {
        1 Supervisor PARES_ROLE_SUPERVISOR c"supervisor",
        2 Subordinate PARES_ROLE_SUBORDINATE c"subordinate",
        3 Contending PARES_ROLE_CONTENDING c"contending",
        4 Stopped PARES_ROLE_STOPPED c"stopped",
    }
    EventKind {
        1 Supervisor PARES_EVENT_SUPERVISOR c"supervisor",
        2 Subordinate PARES_EVENT_SUBORDINATE c"subordinate",
        3 Contending PARES_EVENT_CONTENDING c"contending",
        4 Settled PARES_EVENT_SETTLED c"settled",
        5 PermitLost PARES_EVENT_PERMIT_LOST c"permit-lost",
        6 OverLimit PARES_EVENT_OVER_LIMIT c"over-limit",
        7 Setting PARES_EVENT_SETTING c"setting",
        8 Message PARES_EVENT_MESSAGE c"message",
        9 StopAsked PARES_EVENT_STOP_ASKED c"stop-asked",
        10 Stopped PARES_EVENT_STOPPED c"stopped",
        11 Missed PARES_EVENT_MISSED c"missed",
        12 Stalled PARES_EVENT_STALLED c"stalled",
        13 Resumed PARES_EVENT_RESUMED c"resumed",
        14 ListenerRevived PARES_EVENT_LISTENER_REVIVED c"listener-revived",
    }
    Policy {
        1 Even PARES_POLICY_EVEN c"even",
        2 Connections PARES_POLICY_CONNECTIONS c"connections",
        3 Standby PARES_POLICY_STANDBY c"standby",
        4 Free PARES_POLICY_FREE c"free",
    }
    ContendingCause {
        1 SupervisorDied PARES_CAUSE_SUPERVISOR_DIED c"supervisor-died",
        2 SupervisorLeft PARES_CAUSE_SUPERVISOR_LEFT c"supervisor-left",
        3 SteppedDown PARES_CAUSE_STEPPED_DOWN c"stepped-down",
        4 Evicted PARES_CAUSE_EVICTED c"evicted",
        5 Obstructed PARES_CAUSE_OBSTRUCTED c"obstructed",
    }
    StallCause {
        1 Stopped PARES_STALLED_STOPPED c"stopped",
        2 DumpingCore PARES_STALLED_DUMPING_CORE c"dumping-core",
        3 Starved PARES_STALLED_STARVED c"starved",
        4 Silent PARES_STALLED_SILENT c"silent",
        5 NoProgress PARES_STALLED_NO_PROGRESS c"no-progress",
    }
    ElectionCause {
        1 Started PARES_ELECTED_FIRST c"started",
        2 Died PARES_ELECTED_AFTER_DEATH c"died",
        3 SteppedDown PARES_ELECTED_AFTER_STEP_DOWN c"stepped-down",
        4 Left PARES_ELECTED_AFTER_LEAVE c"left",
    }
    heartbeat::Status {
        1 Joining PARES_PEER_JOINING c"joining",
        2 Standby PARES_PEER_STANDBY c"standby",
        3 ToBecomePrimary PARES_PEER_TO_BECOME_PRIMARY c"to-become-primary",
        4 Primary PARES_PEER_PRIMARY c"primary",
        5 Leaving PARES_PEER_LEAVING c"leaving",
    }
    masterless::EventKind {
        1 Role PARES_PEER_EVENT_ROLE c"role",
        2 PrepareHandover PARES_PEER_EVENT_PREPARE_HANDOVER c"prepare-handover",
        3 EpochBump PARES_PEER_EVENT_EPOCH_BUMP c"epoch-bump",
        4 Joined PARES_PEER_EVENT_JOINED c"joined",
        5 Left PARES_PEER_EVENT_LEFT c"left",
        6 Suspected PARES_PEER_EVENT_SUSPECTED c"suspected",
        7 Spawn PARES_PEER_EVENT_SPAWN c"spawn",
        8 Paused PARES_PEER_EVENT_PAUSED c"paused",
        9 Missed PARES_PEER_EVENT_MISSED c"missed",
        10 Stopped PARES_PEER_EVENT_STOPPED c"stopped",
        11 CannotSend PARES_PEER_EVENT_CANNOT_SEND c"cannot-send",
        12 SendsAgain PARES_PEER_EVENT_SENDS_AGAIN c"sends-again",
    }
    RoleCause {
        1 Started PARES_ROLE_CAUSE_STARTED c"started",
        2 Admitted PARES_ROLE_CAUSE_ADMITTED c"admitted",
        3 Vacant PARES_ROLE_CAUSE_VACANT c"vacant",
        4 Failover PARES_ROLE_CAUSE_FAILOVER c"failover",
        5 Preempt PARES_ROLE_CAUSE_PREEMPT c"preempt",
        6 Unopposed PARES_ROLE_CAUSE_UNOPPOSED c"unopposed",
        7 Named PARES_ROLE_CAUSE_NAMED c"named",
        8 Outranked PARES_ROLE_CAUSE_OUTRANKED c"outranked",
        9 Refuted PARES_ROLE_CAUSE_REFUTED c"refuted",
        10 Unyielding PARES_ROLE_CAUSE_UNYIELDING c"unyielding",
        11 Barred PARES_ROLE_CAUSE_BARRED c"barred",
        12 HandedOver PARES_ROLE_CAUSE_HANDED_OVER c"handed-over",
        13 Overdue PARES_ROLE_CAUSE_OVERDUE c"overdue",
        14 Superseded PARES_ROLE_CAUSE_SUPERSEDED c"superseded",
        15 Unheard PARES_ROLE_CAUSE_UNHEARD c"unheard",
        16 Paused PARES_ROLE_CAUSE_PAUSED c"paused",
        17 NoQuorum PARES_ROLE_CAUSE_NO_QUORUM c"no-quorum",
        18 Collision PARES_ROLE_CAUSE_COLLISION c"collision",
        19 Surplus PARES_ROLE_CAUSE_SURPLUS c"surplus",
        20 Left PARES_ROLE_CAUSE_LEFT c"left",
        21 CannotSend PARES_ROLE_CAUSE_CANNOT_SEND c"cannot-send",
    }
    masterless::LeftCause {
        1 Left PARES_PEER_LEFT c"left",
        2 Died PARES_PEER_DIED c"died",
        3 Forgotten PARES_PEER_FORGOTTEN c"forgotten",
    }
    SuspicionCause {
        1 Silent PARES_SUSPICION_SILENT c"silent",
        2 Ended PARES_SUSPICION_ENDED c"ended",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<E: CEnum>(prefix: &str, some: &[(E, &str)]) {
        for (value, word_of_rust) in some {
            let one = E::ALL.iter().find(|one| one.number == value.number()).unwrap();
            assert_eq!(one.word.to_str().unwrap(), *word_of_rust);
        }
        for (one, number) in E::ALL.iter().zip(1..) {
            assert_eq!(one.number, number, "{}", one.constant);
            let word = one.word.to_str().unwrap().to_uppercase().replace('-', "_");
            assert_eq!(one.constant, format!("{prefix}{word}"));
        }
    }

    #[test]
    fn numbers_have_no_gap_and_words_are_those_of_rust_and_of_the_constants() {
        let roles = [Role::Supervisor, Role::Subordinate, Role::Contending, Role::Stopped];
        check("PARES_ROLE_", &roles.map(|role| (role, role.as_str())));
        check(
            "PARES_EVENT_",
            &[(EventKind::StopAsked, "stop-asked"), (EventKind::Stopped, "stopped")],
        );
        check("PARES_CAUSE_", &[(ContendingCause::Evicted, "evicted")]);
        let stalls = [StallCause::Stopped, StallCause::DumpingCore, StallCause::NoProgress];
        check("PARES_STALLED_", &stalls.map(|cause| (cause, cause.as_str())));
        use heartbeat::Status;
        let statuses = [Status::Joining, Status::ToBecomePrimary, Status::Leaving];
        check("PARES_PEER_", &statuses.map(|status| (status, status.as_str())));
        check("PARES_PEER_EVENT_", &[(masterless::EventKind::Stopped, "stopped")]);
        check("PARES_ROLE_CAUSE_", &[(RoleCause::CannotSend, "cannot-send")]);
        check("PARES_PEER_", &[(masterless::LeftCause::Forgotten, "forgotten")]);
        check("PARES_SUSPICION_", &[(SuspicionCause::Ended, "ended")]);
    }
}
