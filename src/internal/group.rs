//! The fuzz targets of masterless groups.

use super::Choices;
use crate::config::masterless::Need;
use crate::event::masterless::{EventKind, Token};
use crate::state::masterless::{Action, Input, Machine, Rules};
use crate::wire::heartbeat::Status;
use crate::wire::heartbeat::{Directive, Few, Heartbeat, MAX_NUMBER, Start, View};
use crate::wire::proof::Key;
use crate::wire::seal::Seal;
use crate::wire::{Label, PeerId, Tail};

/// Any bytes as a datagram, with a right tag and without: never a panic, and what is understood is
/// written as it was read.
///
/// Input: 1 for a tag that is made right, then the datagram.
pub fn fuzz_heartbeat(input: &[u8]) {
    let (choice, datagram) = input.split_first().unwrap_or((&0, &[]));
    let seal = Seal::new("fuzz", (1, Key([1; 32])), None);
    let datagram = if *choice == 1 { seal.close_any(datagram) } else { datagram.to_vec() };
    if let Ok(beat) = seal.open(&datagram) {
        assert_eq!(seal.close(&beat), datagram, "read, and written otherwise");
    }
}

/// One process among members that have the key and say anything, at any time: never a panic, never
/// more kept than there may be, and its tokens grow.
///
/// Input: what it is configured to be, then one event after the other.
pub fn fuzz_group(input: &[u8]) {
    let mut choices = Choices(input);
    let needs = (0..choices.below(3)).map(|_| Need {
        service: choices.below(3) as u16,
        min: choices.below(4) as u16,
        max: Some(choices.below(5) as u16).filter(|max| *max > 0),
    });
    let needs = needs.collect();
    let rules = Rules {
        service: 1,
        rank: [0, 128, 255][choices.below(3)],
        workload: 0,
        label: Label::new("fuzz"),
        origin: 0,
        interval: 200,
        delay: [20, 100, 200][choices.below(3)],
        preempt: choices.below(2) == 0,
        prepare_handover: choices.below(2) == 0,
        quorum: choices.below(4),
        slow_above: choices.below(4),
        max_members: 1 + choices.below(8),
        can_start: choices.below(2) == 0,
        needs,
        epoch: u64::from(choices.byte()),
        observe: choices.below(16) == 15,
    };
    let mut chance = 0u64;
    let entropy = move || {
        chance =
            chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        chance
    };
    let (mut now, mut latest, mut out) = (10_000_000u64, 10_000_000u64, Vec::new());
    let mut machine = Machine::new(rules, now, Box::new(entropy), &mut out);
    let mut said: Option<Heartbeat> = None;
    let mut last: Option<Token> = None;
    for _ in 0..400 {
        if choices.0.is_empty() {
            break;
        }
        now = match choices.below(8) {
            0 => now + 25,
            1 => now + u64::from(choices.byte()) * 8,
            2 => now + u64::from(choices.u16()) * 16,
            3 => now.saturating_sub(u64::from(choices.byte()) * 64),
            _ => now,
        };
        let event = match choices.below(16) {
            0..4 => Input::Tick,
            4 => Input::HandoverReady,
            5 if choices.below(4) == 0 => Input::Leave,
            6 => Input::Rank(choices.byte()),
            7 => Input::Direct { target: tail(&mut choices, &machine), rank: choices.byte() },
            8 => Input::Workload(choices.u16()),
            9 => Input::Doubt(tail(&mut choices, &machine)),
            10 => said.map_or(Input::Tick, Input::Heard),
            11 if choices.below(4) == 0 => Input::NotSent { errno: 1 },
            12 if choices.below(4) == 0 => Input::Sent,
            _ => Input::Heard(beat(&mut choices, &machine, said.as_ref())),
        };
        machine.step(now, event, &mut out);
        machine.check();
        for action in out.drain(..) {
            match action {
                Action::Send { beat, .. } => said = Some(beat),
                Action::Tell(kind) => {
                    if let Some(token) = EventKind::token(&kind) {
                        // At the end of all numbers, where only a hostile member can bring it,
                        // there is no larger one.
                        let grows =
                            last.is_none_or(|last| token > last) || token.epoch == MAX_NUMBER - 1;
                        assert!(grows, "{token} after {last:?}");
                        last = Some(token);
                    }
                }
                Action::Flush | Action::Exit => {}
            }
        }
        latest = latest.max(now);
        assert!(machine.wake_at() <= latest + 200, "it sleeps for longer than an interval");
        assert!(!machine.lease_ok(now) || machine.status() == Status::Primary);
    }
}

/// One of a few, this process's own among them.
fn tail(choices: &mut Choices<'_>, machine: &Machine) -> Tail {
    match choices.byte() % 12 {
        0 => machine.id().tail(),
        other => Tail([other; 11]),
    }
}

fn number(choices: &mut Choices<'_>) -> u64 {
    match choices.byte() {
        255 => MAX_NUMBER - 1 - u64::from(choices.byte()),
        few => u64::from(few),
    }
}

fn id(choices: &mut Choices<'_>, machine: &Machine) -> PeerId {
    let sequence = match choices.byte() {
        255 => u32::MAX - u32::from(choices.byte()),
        few => u32::from(few),
    };
    PeerId::new(choices.byte(), sequence, tail(choices, machine))
}

fn beat(choices: &mut Choices<'_>, machine: &Machine, said: Option<&Heartbeat>) -> Heartbeat {
    let id = id(choices, machine);
    let status = [
        Status::Joining,
        Status::Standby,
        Status::ToBecomePrimary,
        Status::Primary,
        Status::Leaving,
    ][choices.below(5)];
    let mut beat = Heartbeat {
        session: said
            .map_or(0, |said| said.session)
            .wrapping_add(u64::from(choices.byte() % 4) / 2),
        counter: number(choices),
        id,
        status,
        flags: choices.byte() % 32,
        service: choices.below(3) as u16,
        workload: choices.u16(),
        interval_ms: [0, 200, u32::MAX][choices.below(3)],
        epoch: number(choices),
        origin: u32::from(choices.byte() % 4),
        views: Few::default(),
        starts: Few::default(),
        directive: None,
        handed_to: None,
        label: Label::EMPTY,
    };
    for _ in 0..choices.below(5) {
        let age_ms = u32::from(choices.u16());
        let id = self::id(choices, machine);
        _ = beat.views.push(View {
            service: choices.below(3) as u16,
            id,
            epoch: number(choices),
            age_ms,
        });
    }
    for _ in 0..choices.below(5) {
        let (nonce, started) = (u32::from(choices.byte()), choices.below(2) == 0);
        _ = beat.starts.push(Start {
            service: choices.below(3) as u16,
            nonce,
            load: choices.byte() % 4,
            started,
        });
    }
    if choices.below(4) == 0 {
        let nonce = u32::from(choices.byte());
        beat.directive =
            Some(Directive { target: tail(choices, machine), rank: choices.byte(), nonce });
    }
    if choices.below(4) == 0 {
        beat.handed_to = Some(tail(choices, machine));
    }
    if choices.below(4) == 0 {
        let bytes = [choices.byte(), choices.byte()].repeat(choices.below(20));
        beat.label = Label::new(&String::from_utf8_lossy(&bytes));
    }
    beat
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::sim::random::Random;

    /// Goal: without fuzzing, too, no bytes bring it down: 4,000 processes, 400 events each at
    /// most.
    #[test]
    fn whatever_members_say_nothing_breaks() {
        let mut chance = Random(1);
        for length in 0..4000 {
            let input: Vec<u8> = (0..length).map(|_| chance.next() as u8).collect();
            fuzz_group(&input);
            fuzz_heartbeat(&input);
        }
    }
}
