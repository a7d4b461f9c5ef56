//! Those who abuse what is shared: permits, tallies, settings, messages.

use super::*;

const ACQUIRE: u8 = 64;
const RELEASE: u8 = 65;
const COUNT: u8 = 66;
const TAKEN: u8 = 67;
const TOTAL_QUERY: u8 = 68;
const GRANTED: u8 = 72;
const DENIED: u8 = 73;
const SETTING: u8 = 75;
const TOTAL: u8 = 79;
const USAGE_QUERY: u8 = 96;
const SET_LIMIT: u8 = 100;
const REVOKE: u8 = 101;
const SET: u8 = 104;
const PUBLISH: u8 = 105;
const DONE: u8 = 106;
const NOT_DONE: u8 = 107;

const MAX_UNITS: u64 = 1 << 38;
const INVALID: u8 = 4;

fn wanted(id: u64, resource: &str, units: u64, wait: bool) -> Body {
    Body::of(0).u64(id).text(resource).u64(units).u8(u8::from(wait)).u64(1)
}

fn acquire(id: u64, resource: &str, units: u64, wait: bool) -> Body {
    Body::of(ACQUIRE).raw(&wanted(id, resource, units, wait).0[1..])
}

fn count(resource: &str, units: u64) -> Body {
    Body::of(COUNT).text(resource).u64(units)
}

/// The five lists at the end of a hello: declared, held, wanted, counted, settings.
#[derive(Default)]
struct Lists([Vec<Body>; 5]);

impl Lists {
    fn with(mut self, list: usize, item: Body) -> Self {
        self.0[list].push(item);
        self
    }

    fn many(mut self, list: usize, count: usize, item: impl Fn(usize) -> Body) -> Self {
        self.0[list].extend((0..count).map(item));
        self
    }

    fn hello(&self, entry: &Entry, last_term: u64) -> Body {
        let mut body = entry.hello(last_term);
        // They are empty there: five counts of nothing.
        body.0.truncate(body.0.len() - 10);
        for list in &self.0 {
            body = body.u16(list.len() as u16);
            body = list.iter().fold(body, |body, item| body.raw(&item.0[1..]));
        }
        body
    }
}

fn declared(resource: &str, limit: u64) -> Body {
    Body::of(0).text(resource).u64(limit).u8(0)
}

fn held(id: u64, resource: &str, units: u64) -> Body {
    Body::of(0).u64(id).text(resource).u64(units)
}

fn setting(scope: u8, key: &str, value: &str, term: u64) -> Body {
    Body::of(0).u8(scope).text(key).u8(1).text(value).u64(term).u64(1)
}

/// All that is answered to one question.
fn asked(target: &Target, question: Body) -> Vec<Vec<u8>> {
    let mut peer = target.enter(Door::Registry, question);
    peer.half_close();
    peer.rest()
}

/// The next message that is not one of those that members are told unasked.
fn told(peer: &mut Peer) -> Option<Vec<u8>> {
    loop {
        let message = peer.frame()?;
        if ![kind::WELCOME, kind::ROSTER, kind::STATE].contains(&message[0]) {
            return Some(message);
        }
    }
}

/// Goal: a member that breaks the rules of sharing is cut off with one word, and nothing of what it
/// said remains.
#[test]
fn a_member_that_breaks_the_rules_of_sharing_is_cut_off() {
    let target = Target::start();
    let long = "x".repeat(65);
    let tallies: Vec<Body> = (0..65).map(|number| count(&format!("t{number}"), 1)).collect();
    let questions: Vec<Body> = vec![acquire(7, "r", 1, true), acquire(7, "r", 1, true)];
    let breaches: Vec<(&str, Vec<Body>)> = vec![
        ("a permit of nothing", vec![acquire(1, "r", 0, true)]),
        ("more units than there are numbers for", vec![acquire(1, "r", MAX_UNITS + 1, true)]),
        ("all units there are", vec![acquire(1, "r", u64::MAX, false)]),
        ("a resource without a name", vec![acquire(1, "", 1, true)]),
        ("a resource that garbles a terminal", vec![acquire(1, "\x1b[2J", 1, true)]),
        ("a long name", vec![acquire(1, &long, 1, true)]),
        ("a tally that overflows", vec![count("r", u64::MAX)]),
        ("a tally of a long name", vec![count(&long, 1)]),
        ("more tallies than there may be", tallies),
        ("two requests of one number", questions),
        ("a question for a bad name", vec![Body::of(TOTAL_QUERY).u64(1).text("a b")]),
        ("a supervisor's message", vec![Body::of(GRANTED).u64(1)]),
        ("a question of the registry port", vec![Body::of(USAGE_QUERY).u8(0)]),
    ];
    for (what, messages) in breaches {
        // It declares what it uses, so that nothing else is wrong with it: a limit of nothing, so
        // that it waits.
        let hello =
            Lists::default().with(0, declared("r", 1)).with(1, held(99, "r", 1)).hello(&guest(), 0);
        let mut peer = target.enter(Door::Supervisor, hello);
        messages.into_iter().for_each(|message| assert!(peer.send(&message.frame())));
        check_end(what, Door::Supervisor, &mut peer, End::Refused(refusal::MALFORMED));
        drop(peer);
        target.is_calm_again(what);
        assert_eq!(asked(&target, Body::of(USAGE_QUERY).u8(0)), [Body::of(97).u32(0).0], "{what}");
    }
    target.serves(Door::Supervisor);
}

/// Goal: a hello that claims what cannot be is refused, and nothing of it gets into the book.
#[test]
fn a_hello_that_claims_what_cannot_be_is_refused() {
    let target = Target::start();
    let hellos: Vec<(&str, Lists)> = vec![
        ("one resource twice", Lists::default().many(0, 2, |_| declared("r", 1))),
        (
            "too many resources",
            Lists::default().many(0, 65, |number| declared(&format!("r{number}"), 1)),
        ),
        ("a limit beyond numbers", Lists::default().with(0, declared("r", u64::MAX))),
        ("one permit twice", Lists::default().many(1, 2, |_| held(1, "r", 1))),
        (
            "a permit that is also a request",
            Lists::default().with(1, held(1, "r", 1)).with(2, wanted(1, "r", 1, true)),
        ),
        ("a permit of nothing", Lists::default().with(1, held(1, "r", 0))),
        ("a permit of everything", Lists::default().with(1, held(1, "r", u64::MAX))),
        ("too many permits", Lists::default().many(1, 1025, |number| held(number as u64, "r", 1))),
        (
            "too many requests",
            Lists::default().many(2, 1025, |number| wanted(number as u64, "r", 1, true)),
        ),
        ("a bad name", Lists::default().with(2, wanted(1, "a\nb", 1, true))),
        (
            "too many tallies",
            Lists::default().many(3, 65, |number| Body::of(0).text(format!("t{number}")).u64(1)),
        ),
        ("a tally of nothing", Lists::default().with(3, Body::of(0).text("t").u64(0))),
        ("a limit that is no number", Lists::default().with(4, setting(2, "r", "many", 0))),
        (
            "a limit beyond numbers in the settings",
            Lists::default().with(4, setting(2, "r", "99999999999999999999", 0)),
        ),
        ("a key that garbles", Lists::default().with(4, setting(1, "\x1b[2J", "v", 0))),
        ("a value too long", Lists::default().with(4, setting(1, "k", &"v".repeat(16_385), 0))),
        (
            "too many settings",
            Lists::default().many(4, 513, |number| setting(1, &format!("k{number}"), "", 0)),
        ),
    ];
    for (what, lists) in hellos {
        let mut peer = target.enter(Door::Supervisor, lists.hello(&guest(), 0));
        check_end(what, Door::Supervisor, &mut peer, End::Refused(refusal::MALFORMED));
    }
    target.serves(Door::Supervisor);
    target.is_calm_again("forged claims");
    assert_eq!(asked(&target, Body::of(USAGE_QUERY).u8(0)), [Body::of(97).u32(0).0]);
}

/// Goal: a request that cannot be is answered so, and changes nothing.
#[test]
fn a_request_that_cannot_be_is_answered_and_changes_nothing() {
    let mut target = Target::start();
    target.other.order("watch");
    let none = |body: Body| body.u8(0);
    let publish = |from: &str, topic: &str, bytes: usize| {
        Body::of(PUBLISH).text(from).u8(0).text(topic).payload(&vec![0; bytes])
    };
    for (what, question, fault) in [
        ("a key that garbles", none(Body::of(SET).text("\x1b[2J").u8(1).text("v")), INVALID),
        ("a key too long", none(Body::of(SET).text("k".repeat(65)).u8(1).text("v")), INVALID),
        ("a value too long", none(Body::of(SET).text("k").u8(1).text("v".repeat(16_385))), INVALID),
        ("a limit beyond numbers", Body::of(SET_LIMIT).text("r").u64(u64::MAX), INVALID),
        ("a limit of nothing known", Body::of(SET_LIMIT).text("r").u64(1), 1),
        ("permits of nothing known", Body::of(REVOKE).text("r").text("boss"), 1),
        ("a sender that garbles", publish("\x1b[2J", "t", 1), INVALID),
        ("a topic that garbles", publish("boss", "a\nb", 1), INVALID),
        ("a large message", publish("boss", "t", 65_537), INVALID),
    ] {
        let answer = asked(&target, question);
        assert_eq!(answer[0][..2], [NOT_DONE, fault], "{what}: {answer:?}");
    }
    // A message of the lifeline has no place here.
    for message in
        [acquire(1, "r", 1, true), Body::of(RELEASE).u64(1), Body::of(TAKEN).u32(1), count("r", 1)]
    {
        let mut peer = target.enter(Door::Registry, message);
        check_end(
            "a message of the lifeline",
            Door::Registry,
            &mut peer,
            End::Refused(refusal::MALFORMED),
        );
    }
    DOORS.iter().for_each(|&door| target.serves(door));
}

/// Goal: who asks over its lifeline and never reads the answers is cut off, and costs nobody else
/// anything. Method: questions without end from a member with a small receive buffer; honest
/// clients all the while.
#[test]
fn a_member_that_asks_and_never_reads_is_cut_off() {
    let _alone = alone();
    let target = Target::start();
    let mut peer = target.enter_narrow(Door::Supervisor, Door::Supervisor.first());
    Door::Supervisor.answer(&mut peer);
    let questions = Body::of(TOTAL_QUERY).u64(1).text("r").frame().repeat(1000);
    // Some hundred thousand answers: what the kernel and the supervisor keep has to be full.
    let deadline = Instant::now() + 4 * PATIENCE;
    let mut rounds = 0;
    while peer.send(&questions) {
        assert!(Instant::now() < deadline, "not cut off after {rounds} rounds");
        rounds += 1;
        if rounds % 50 == 0 {
            DOORS.iter().for_each(|&door| target.serves(door));
        }
    }
    drop(peer);
    target.is_calm_again("questions without end");
}

/// Goal: a member that asks for as much as it may, again and again, keeps no other from its permit.
#[test]
fn a_member_that_wants_everything_keeps_nobody_from_another_resource() {
    let _alone = alone();
    let target = Target::start();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut greedy = target.enter(
                Door::Supervisor,
                Lists::default().with(0, declared("r", 1)).hello(&guest(), 0),
            );
            assert_eq!(greedy.frame().expect("a welcome")[0], kind::WELCOME);
            for id in 0..u64::MAX {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                // All but the first wait; those beyond what one instance may have are denied.
                greedy.send(&acquire(id, "r", 1, true).frame());
                if id > 1024 {
                    assert_eq!(told(&mut greedy).expect("an answer")[0], DENIED);
                } else if id == 0 {
                    assert_eq!(told(&mut greedy).expect("an answer")[0], GRANTED);
                }
            }
        });
        let hello = Lists::default().with(0, declared("honest", 1)).hello(&guest(), 0);
        let mut honest = target.enter(Door::Supervisor, hello);
        assert_eq!(honest.frame().expect("a welcome")[0], kind::WELCOME);
        let end = Instant::now() + Duration::from_secs(1);
        let (mut id, mut times) = (0, Vec::new());
        while Instant::now() < end || times.len() < 3 {
            let began = Instant::now();
            id += 1;
            honest.send(&acquire(id, "honest", 1, false).frame());
            assert_eq!(told(&mut honest), Some(Body::of(GRANTED).u64(id).0));
            honest.send(&Body::of(RELEASE).u64(id).frame());
            times.push(began.elapsed());
        }
        times.sort_unstable();
        assert!(
            times[times.len() / 2] < SOON,
            "half of the permits took {:?} and more",
            times[times.len() / 2]
        );
        over.store(true, Ordering::Relaxed);
    });
    target.is_calm_again("greed");
}

/// Goal: a setting reaches a member that registers with an older one, and one that it has newer
/// reaches the group.
#[test]
fn settings_are_exchanged_with_the_hello() {
    let target = Target::start();
    let set = Body::of(SET).text("k").u8(1).text("ours").u8(0);
    assert_eq!(asked(&target, set)[0][0], SETTING);
    let lists = Lists::default()
        .with(4, setting(1, "k", "theirs", 0))
        .with(4, setting(1, "other", "theirs", 0));
    let mut peer = target.enter(Door::Supervisor, lists.hello(&guest(), 0));
    let answer = told(&mut peer).expect("a setting");
    assert_eq!(answer[..2], [SETTING, 1]);
    assert!(answer.windows(4).any(|bytes| bytes == b"ours"), "{answer:?}");
    let all = asked(&target, Body::of(102).u8(0));
    assert_eq!(all.len(), 3, "{all:?}");
    // Its totals are told in the order of its counting.
    for units in [5u64, 3, 0] {
        peer.send(
            &[count("t", units).frame(), Body::of(TOTAL_QUERY).u64(units).text("t").frame()]
                .concat(),
        );
        assert_eq!(told(&mut peer), Some(Body::of(TOTAL).u64(units).u64(units).0));
    }
    let done = asked(&target, Body::of(PUBLISH).text("boss").u8(0).text("t").payload(b"x"));
    assert_eq!(done[0][0], DONE);
}

/// Goal: questions about health are answered, answers that nobody asked for change nothing, and who
/// asks without end and never reads is cut off.
#[test]
fn questions_about_health_harm_nobody() {
    const PROBE: u8 = 23;
    const ALIVE: u8 = 24;
    let _alone = alone();
    let target = Target::start();
    let mut peer = target.enter_narrow(Door::Supervisor, Door::Supervisor.first());
    Door::Supervisor.answer(&mut peer);
    peer.send(&Body::of(ALIVE).u64(u64::MAX).u8(0).frame().repeat(1000));
    peer.send(&Body::of(PROBE).u64(u64::MAX).u64(0).frame());
    let answer = Body::of(ALIVE).u64(u64::MAX).u8(1).0;
    assert_eq!(told(&mut peer), Some(answer), "its program is not expected to pulse");
    let flood = Body::of(PROBE).u64(1).u64(u64::MAX).frame().repeat(4096);
    assert!((0..1000).any(|_| !peer.send(&flood)), "it takes all questions and keeps all answers");
    drop(peer);
    target.is_calm_again("a flood of questions about health");
    DOORS.iter().for_each(|&door| target.serves(door));
}

/// Goal: a setting from the last of all terms is believed, changed like any other, and overflows
/// nothing.
#[test]
fn a_setting_from_the_end_of_all_terms_can_be_changed() {
    let target = Target::start();
    let lists = Lists::default().with(4, setting(1, "k", "theirs", u64::MAX));
    let mut peer = target.enter(Door::Supervisor, lists.hello(&guest(), 0));
    assert_eq!(peer.frame().expect("a welcome")[0], kind::WELCOME);
    let answer = asked(&target, Body::of(SET).text("k").u8(1).text("ours").u8(0));
    assert_eq!(answer[0][..2], [SETTING, 1]);
    let heard = told(&mut peer).expect("a setting");
    assert!(heard.windows(4).any(|bytes| bytes == b"ours"), "{heard:?}");
    DOORS.iter().for_each(|&door| target.serves(door));
}
