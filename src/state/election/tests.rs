//! The election, one phase and event after the other.

use super::*;

const SOON: Time = Time::from_millis(1);
const DEADLINE: Time = Time::from_secs(10);

fn contending() -> Election {
    let mut election = Election::new(1, DEADLINE, true);
    assert_eq!(election.on(Time::ZERO, ElectionEvent::Started), (None, Deed::TryPort));
    election
}

fn subordinate() -> Election {
    let mut election = contending();
    election.on(SOON, ElectionEvent::PortTaken);
    election.on(SOON, ElectionEvent::Welcomed { term: 7 });
    election
}

fn error() -> KeepError {
    KeepError::damaged(std::path::Path::new("web.term"), b"")
}

fn claimed(last: u64) -> ElectionEvent {
    ElectionEvent::PortClaimed { last: Ok(last), seen: 0 }
}

fn supervises(term: u64, cause: ElectionCause) -> (Option<Report>, Deed) {
    (Some(Report::Supervisor { term, unkept: None }), Deed::Supervise { term, cause })
}

fn supervisor() -> Election {
    let mut election = contending();
    election.on(SOON, claimed(6));
    election.on(SOON, ElectionEvent::Kept(Ok(())));
    election
}

#[track_caller]
fn check(mut from: Election, event: ElectionEvent, report: Option<Report>, deed: Deed) -> Election {
    assert_eq!(from.on(SOON, event.clone()), (report, deed), "{from:?} on {event:?}");
    from
}

#[track_caller]
fn check_waits(mut from: Election, event: ElectionEvent) -> Election {
    let (report, deed) = from.on(SOON, event.clone());
    assert!(
        report.is_none() && matches!(deed, Deed::Wait(_)),
        "{from:?} on {event:?}: {report:?} {deed:?}"
    );
    from
}

#[test]
fn who_claims_the_port_is_supervisor() {
    let election = check(contending(), claimed(6), None, Deed::Keep { term: 7 });
    let (report, deed) = supervises(7, ElectionCause::Started);
    check(election, ElectionEvent::Kept(Ok(())), report, deed);
}

#[test]
fn a_new_term_is_above_all_that_is_known() {
    for (last, seen, term) in
        [(6, 0, 7), (6, 9, 10), (12, 9, 13), (0, 0, 1), (u64::MAX, 0, u64::MAX)]
    {
        check(
            contending(),
            ElectionEvent::PortClaimed { last: Ok(last), seen },
            None,
            Deed::Keep { term },
        );
    }
    let mut survivor = subordinate();
    survivor.on(SOON, ElectionEvent::LinkLost(Loss::Died));
    check(survivor, claimed(3), None, Deed::Keep { term: 8 });
}

#[test]
fn a_term_that_was_raised_is_known_to_who_stepped_down() {
    let mut election = supervisor();
    election.on(SOON, ElectionEvent::SteppedDown { term: 11 });
    check(election.clone(), ElectionEvent::PortTaken, None, Deed::Connect);
    assert_eq!(election.last_term(), 11);
    check(election, claimed(7), None, Deed::Keep { term: 12 });
}

#[test]
fn who_cannot_keep_its_term_does_not_begin_a_group_anew() {
    let unkept = || Deed::Fail(Obstacle::Unkept(error()));
    check(contending(), ElectionEvent::PortClaimed { last: Err(error()), seen: 0 }, None, unkept());
    let election = check(contending(), claimed(6), None, Deed::Keep { term: 7 });
    check(election, ElectionEvent::Kept(Err(error())), None, unkept());
}

#[test]
fn a_survivor_that_cannot_keep_its_term_goes_on_and_says_so() {
    let mut survivor = subordinate();
    survivor.on(SOON, ElectionEvent::LinkLost(Loss::Died));
    let claimed = ElectionEvent::PortClaimed { last: Err(error()), seen: 0 };
    let survivor = check(survivor, claimed, None, Deed::Keep { term: 8 });
    let report = Some(Report::Supervisor { term: 8, unkept: Some(error()) });
    let deed = Deed::Supervise { term: 8, cause: ElectionCause::Died };
    check(survivor, ElectionEvent::Kept(Err(error())), report, deed);
}

#[test]
fn who_may_not_supervise_never_tries_the_port() {
    let mut election = Election::new(1, DEADLINE, false);
    assert_eq!(election.on(Time::ZERO, ElectionEvent::Started), (None, Deed::Connect));
    let mut election = check_waits(election, ElectionEvent::NobodyThere);
    assert_eq!(election.on(SOON, ElectionEvent::Waited), (None, Deed::Connect));
    election.on(SOON, ElectionEvent::Welcomed { term: 7 });
    let lost = Some(Report::Contending(Loss::Died));
    let mut election = check(election, ElectionEvent::LinkLost(Loss::Died), lost, Deed::Connect);
    let mut reports = Vec::new();
    let mut now = SOON;
    for _ in 0..100 {
        let (report, deed) = election.on(now, ElectionEvent::NobodyThere);
        let Deed::Wait(time) = deed else { panic!("{deed:?}") };
        assert!(
            time <= Duration::from_millis(210),
            "it comes back {time:?} after a supervisor, at worst"
        );
        reports.extend(report.map(|report| (report, now)));
        now += time;
        assert_eq!(election.on(now, ElectionEvent::Waited), (None, Deed::Connect));
    }
    let [(Report::Obstructed(Obstacle::NoSupervisor), when)] = reports[..] else {
        panic!("{reports:?}")
    };
    assert!((Duration::from_millis(100)..Duration::from_millis(300)).contains(&when), "{when:?}");
}

#[test]
fn who_may_not_supervise_gives_up_a_first_join_at_its_deadline() {
    let mut election = Election::new(1, DEADLINE, false);
    election.on(Time::ZERO, ElectionEvent::Started);
    assert_eq!(
        election.on(DEADLINE, ElectionEvent::NobodyThere),
        (None, Deed::Fail(Obstacle::NoSupervisor))
    );
}

#[test]
fn who_finds_the_port_taken_connects_and_follows() {
    let election = check(contending(), ElectionEvent::PortTaken, None, Deed::Connect);
    check(
        election,
        ElectionEvent::Welcomed { term: 7 },
        Some(Report::Subordinate { term: 7 }),
        Deed::Follow,
    );
}

#[test]
fn loss_of_the_supervisor_is_reported_and_the_port_is_tried_at_once() {
    let report = Some(Report::Contending(Loss::Died));
    let election = check(subordinate(), ElectionEvent::LinkLost(Loss::Died), report, Deed::TryPort);
    let election = check(election, claimed(7), None, Deed::Keep { term: 8 });
    let (report, deed) = supervises(8, ElectionCause::Died);
    check(election, ElectionEvent::Kept(Ok(())), report, deed);
}

#[test]
fn who_is_welcomed_and_cut_off_again_and_again_pauses_in_between() {
    let mut election = contending();
    let (mut now, mut waits) = (SOON, 0);
    let mut lifeline = |election: &mut Election, length: Time| {
        election.on(now, ElectionEvent::PortTaken);
        election.on(now, ElectionEvent::Welcomed { term: 7 });
        now += length;
        let (report, deed) = election.on(now, ElectionEvent::LinkLost(Loss::Evicted));
        assert_eq!(report, Some(Report::Contending(Loss::Evicted)));
        deed
    };
    for _ in 0..BRIEF_IN_A_ROW {
        assert_eq!(lifeline(&mut election, SOON), Deed::TryPort);
    }
    for _ in 0..20 {
        let Deed::Wait(time) = lifeline(&mut election, SOON) else { panic!("no pause") };
        election.on(SOON, ElectionEvent::Waited);
        waits += u32::from(time >= Duration::from_millis(100));
    }
    assert!(waits >= 8, "the pauses grow");
    assert_eq!(lifeline(&mut election, BRIEF), Deed::TryPort, "after a real lifeline, at once");
}

#[test]
fn supervisors_that_die_one_after_the_other_cost_no_pause() {
    let mut election = contending();
    for term in 1..100 {
        election.on(SOON, ElectionEvent::PortTaken);
        election.on(SOON, ElectionEvent::Welcomed { term });
        let (_, deed) = election.on(SOON, ElectionEvent::LinkLost(Loss::Died));
        assert_eq!(deed, Deed::TryPort);
    }
}

#[test]
fn after_a_failed_connect_the_port_is_tried_before_the_next_one() {
    let election = check_waits(
        check(contending(), ElectionEvent::PortTaken, None, Deed::Connect),
        ElectionEvent::NobodyThere,
    );
    check(election, ElectionEvent::Waited, None, Deed::TryPort);
}

#[test]
fn who_steps_down_leaves_the_port_to_others_for_a_while() {
    let election = check(supervisor(), ElectionEvent::SteppedDown { term: 7 }, None, Deed::Connect);
    let mut election = check(
        check_waits(election, ElectionEvent::NobodyThere),
        ElectionEvent::Waited,
        None,
        Deed::Connect,
    );
    election.on(SOON, ElectionEvent::NobodyThere);
    let later = SOON + ASIDE;
    assert_eq!(
        election.on(later, ElectionEvent::Waited),
        (None, Deed::TryPort),
        "nobody wanted it"
    );
}

#[test]
fn a_first_join_fails_at_once_on_what_does_not_pass() {
    for obstacle in [Obstacle::NotPares, Obstacle::KeyMismatch, Obstacle::NameTaken("x".into())] {
        check(
            contending(),
            ElectionEvent::Obstructed(obstacle.clone()),
            None,
            Deed::Fail(obstacle),
        );
    }
}

#[test]
fn a_first_join_waits_for_what_passes_until_its_deadline() {
    let mut election = check_waits(contending(), ElectionEvent::Obstructed(Obstacle::Silent));
    election.on(SOON, ElectionEvent::Waited);
    assert_eq!(
        election.on(DEADLINE, ElectionEvent::Obstructed(Obstacle::Silent)),
        (None, Deed::Fail(Obstacle::Silent))
    );
}

#[test]
fn a_member_never_gives_up_and_reports_an_obstacle_once() {
    let mut election = subordinate();
    election.on(SOON, ElectionEvent::LinkLost(Loss::Died));
    let (report, deed) = election.on(SOON, ElectionEvent::Obstructed(Obstacle::NotPares));
    assert_eq!(report, Some(Report::Obstructed(Obstacle::NotPares)));
    assert!(matches!(deed, Deed::Wait(wait) if wait >= Duration::from_millis(500)));
    election.on(SOON, ElectionEvent::Waited);
    let (report, _) = election.on(2 * DEADLINE, ElectionEvent::Obstructed(Obstacle::NotPares));
    assert_eq!(report, None);
}

#[test]
fn one_that_always_closes_without_a_word_turns_us_away() {
    let mut election = contending();
    let mut waited = Duration::ZERO;
    let failed = loop {
        election.on(SOON, ElectionEvent::PortTaken);
        match election.on(SOON, ElectionEvent::ClosedAtOnce) {
            (None, Deed::Wait(wait)) => waited += wait,
            (None, Deed::Fail(obstacle)) => break obstacle,
            other => panic!("{other:?}"),
        }
        election.on(SOON, ElectionEvent::Waited);
    };
    assert_eq!(failed, Obstacle::TurnedAway);
    assert!(
        waited > Duration::from_millis(250),
        "a supervisor may have died this often: {waited:?}"
    );
}

#[test]
fn pauses_grow_and_differ() {
    let mut election = contending();
    let mut waits = Vec::new();
    for _ in 0..12 {
        election.on(SOON, ElectionEvent::PortTaken);
        let (_, Deed::Wait(wait)) = election.on(SOON, ElectionEvent::NobodyThere) else {
            panic!("no pause")
        };
        waits.push(wait);
        election.on(SOON, ElectionEvent::Waited);
    }
    assert!(
        waits[0] < Duration::from_micros(300) && waits[11] > Duration::from_millis(50),
        "{waits:?}"
    );
    assert_ne!(waits[10], waits[11]);
}

#[test]
fn whoever_is_told_to_halt_stops_from_every_phase() {
    for election in [contending(), subordinate(), supervisor()] {
        let stopped = check(election, ElectionEvent::Halted, Some(Report::Stopped), Deed::Stop);
        check(stopped, ElectionEvent::LinkLost(Loss::Died), None, Deed::Stop);
    }
}
