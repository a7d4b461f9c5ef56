//! How lifelines end, and what an instance says of itself after.

use super::*;
use crate::state::registry::test_entry;
use crate::wire::Joining;
use crate::wire::Refusal;

const NOW: Time = Time::from_secs(7);
const ADMIN: u16 = 9;

fn member(resets_lose: bool) -> Member {
    let election = Election::new(1, Time::from_secs(10), true);
    let settle_time = Time::from_millis(500);
    Member::new(test_entry("one", 1, 1), election, vec![], settle_time, resets_lose)
}

/// A witness, who knows of one other member.
fn following(resets_lose: bool) -> Member {
    let mut member = member(resets_lose);
    member.on(NOW, Outcome::Started);
    member.on(NOW, Outcome::PortTaken);
    member.hello();
    let (_, deed) = member.on(NOW, Outcome::Answered(welcome()));
    assert_eq!(deed, Deed::Follow);
    let added = vec![1, 2];
    let roster = Message::Control(Control::Roster {
        anew: true,
        unknown_since_ns: None,
        added,
        removed: vec![],
    });
    assert_eq!(member.hear(roster), Heard::Quiet);
    member
}

fn welcome() -> Message {
    Message::Joining(Joining::Welcome {
        term: 7,
        supervisor: "boss".into(),
        supervisor_admin_port: ADMIN,
        registry_port: 10,
        settled: true,
        members: 3,
    })
}

fn is_witness(member: &Member) -> bool {
    member.known().is_some_and(|known| known.roster.is_some())
}

fn release(id: u64) -> FromHolder {
    FromHolder::Release { id }
}

#[test]
fn a_lifeline_that_ends_without_a_word_is_a_death() {
    let mut member = following(false);
    let next = member.on(NOW, Outcome::LifelineEnded { sure: true });
    assert_eq!(next, (Some(Report::Contending(Loss::Died)), Deed::TryPort));
    assert!(is_witness(&member));
    let elected = member.elected(8, 10, 100);
    assert!(matches!(elected.before, Before::These(_)));
    assert_eq!(elected.predecessor, Some(("boss".into(), left_cause(Loss::Died))));
}

#[test]
fn after_a_reset_it_is_looked_whether_the_supervisor_lives() {
    for (resets_lose, lives, loss, witness) in [
        (false, false, Loss::Died, true),
        (false, true, Loss::Evicted, false),
        (true, false, Loss::Died, false),
    ] {
        let mut member = following(resets_lose);
        let next = member.on(NOW, Outcome::LifelineEnded { sure: false });
        assert_eq!(next, (None, Deed::LookAfter { admin_port: ADMIN }));
        let next = member.on(NOW, Outcome::LookedAfter { lives });
        assert_eq!(next, (Some(Report::Contending(loss)), Deed::TryPort));
        assert_eq!(is_witness(&member), witness, "{resets_lose} {lives}");
        // Watchers are told of its end only if it has come to one.
        assert_eq!(member.elected(8, 10, 100).predecessor.is_some(), !lives);
    }
}

#[test]
fn who_has_said_why_is_not_looked_after() {
    let refusal = Refusal::Malformed;
    for (goodbye, loss) in [
        (Message::Control(Control::Leaving { reason: Departure::Leaves }), Loss::Left),
        (Message::Control(Control::Leaving { reason: Departure::StepsDown }), Loss::SteppedDown),
        (Message::rejected(refusal, ""), Loss::Evicted),
    ] {
        let mut member = following(false);
        assert_eq!(member.hear(goodbye), Heard::Quiet);
        let (report, _) = member.on(NOW, Outcome::LifelineEnded { sure: false });
        assert_eq!(report, Some(Report::Contending(loss)));
    }
}

#[test]
fn what_is_said_while_joining_is_the_first_word_after_the_welcome() {
    let mut member = member(false);
    assert_eq!(member.say(release(1)), Word::Kept);
    member.on(NOW, Outcome::Started);
    member.on(NOW, Outcome::PortTaken);
    member.hello();
    assert_eq!(member.say(release(2)), Word::Kept);
    member.on(NOW, Outcome::Answered(welcome()));
    assert_eq!(member.take_first_words(), [release(2)]);
    assert_eq!(member.say(release(3)), Word::Lifeline(release(3)));
    member.on(NOW, Outcome::LifelineEnded { sure: true });
    assert_eq!(member.say(release(4)), Word::Kept);
    member.elected(8, 10, 100);
    assert_eq!(member.say(release(5)), Word::Own(release(5)));
    member.leave();
    assert_eq!(member.say(release(6)), Word::Kept);
}

#[test]
fn a_term_that_was_raised_is_one_that_it_has_seen() {
    let mut member = following(false);
    member.on(NOW, Outcome::LifelineEnded { sure: true });
    member.elected(8, 10, 100);
    member.opened(NOW, 8, false);
    member.on_own_state(11, false);
    assert_eq!(member.last_term(), 11);
    // Late news of the time before.
    member.on_own_state(8, true);
    assert_eq!((member.last_term(), member.hello().last_term), (11, 11));
}

#[test]
fn an_answer_that_is_no_welcome_is_another_program() {
    let mut member = member(false);
    member.on(NOW, Outcome::Started);
    member.on(NOW, Outcome::PortTaken);
    member.hello();
    let (_, deed) = member.on(NOW, Outcome::Answered(release(1).into()));
    assert_eq!(deed, Deed::Fail(Obstacle::NotPares));
}
