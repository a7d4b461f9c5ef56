//! What one caller waits for: a join, a look-up, a permit, a call; beside an echo in another
//! process.

use pares::Instance;

use crate::drive::timed;
use crate::floor::{ECHO, Echo, bare_joins};
use crate::helper::{DEADLINE, Helper, OneProcessor, free_port, part};
use crate::own::{ECHO_FUNCTION, FIRST, RESOURCE, config};
use crate::plan::Plan;
use crate::result::{Kind, Row, Series, Subject, Unit, in_turns};
use crate::rivals::{Rivals, Server};

/// How often the same is done before the next subject has its turn.
const TURN: u64 = 100;

/// The processes at the other end.
struct Scene {
    directory: tempfile::TempDir,
    port: u16,
    _first: Helper,
    echo: Helper,
    redis: Result<(Helper, Helper, Server), String>,
    dbus: Result<(Helper, Helper, Server), String>,
}

impl Scene {
    fn start(rivals: &Rivals) -> Self {
        let (directory, port) = (tempfile::tempdir().expect("make a directory"), free_port());
        let first = Helper::start(part("first", &[&port, &directory.path().display()]));
        let redis = rivals.redis().map(|server| {
            let unix = Helper::start(server.part("redis-caller", &[]));
            (unix, Helper::start(server.part_at(1, "redis-caller", &[])), server)
        });
        let dbus = rivals.dbus().map(|server| {
            let service = Helper::start(server.part("dbus-service", &[]));
            (Helper::start(server.part("dbus-caller", &[])), service, server)
        });
        Scene {
            directory,
            port,
            _first: first,
            echo: Helper::start(part("echo", &[])),
            redis,
            dbus,
        }
    }
}

/// What is asked of each rival in one row, and how that is called.
struct Orders {
    redis: Option<(&'static str, &'static str)>,
    dbus: Option<(&'static str, &'static str)>,
}

/// One row: the floor, ours, and the rivals that have something like it.
fn row<'a>(
    scene: &'a mut Scene,
    turns: u64,
    of: u64,
    floor: Subject<'a>,
    own: Subject<'a>,
    orders: &Orders,
) -> Vec<Series> {
    let mut names = Vec::new();
    if let Some((_, name)) = orders.redis {
        names.extend([format!("Redis {name}, Unix socket"), format!("Redis {name}, TCP")]);
    }
    let mut subjects = vec![floor, own];
    if let Some((order, _)) = orders.redis {
        match &mut scene.redis {
            Ok((unix, tcp, _)) => {
                subjects.push(Subject::new(Kind::Rival, &names[0], move |times| {
                    unix.ask(order, times)
                }));
                subjects
                    .push(Subject::new(Kind::Rival, &names[1], move |times| tcp.ask(order, times)));
            }
            Err(why) => subjects.extend(names.iter().map(|name| Subject::skipped(name, why))),
        }
    }
    if let Some((order, name)) = orders.dbus {
        subjects.push(match &mut scene.dbus {
            Ok((caller, ..)) => {
                Subject::new(Kind::Rival, name, move |times| caller.ask(order, times))
            }
            Err(why) => Subject::skipped(name, why),
        });
    }
    in_turns(subjects, turns, of)
}

/// One row in which the floor is an echo of 32 bytes.
fn echo_row(
    scene: &mut Scene,
    plan: &Plan,
    group: &'static str,
    what: &str,
    own: impl FnMut(u64) -> Vec<u64>,
    orders: &Orders,
) -> Row {
    let mut echo = Echo::<ECHO>::connect(scene.echo.port());
    let floor =
        Subject::new(Kind::Floor, "echo, 32 bytes", move |times| timed(times, || echo.trip()));
    let own = Subject::new(Kind::Own, "pares", own);
    let series = row(scene, plan.rounds(100), TURN, floor, own, orders);
    Row { group, what: what.into(), size: None, unit: Unit::Time, series }
}

pub(crate) fn rows(plan: &Plan, rivals: &Rivals) -> Vec<Row> {
    let (join, others) = (plan.wants("join"), ["look-up", "acquire", "release", "tally", "call"]);
    if !join && !others.iter().any(|group| plan.wants(group)) {
        return Vec::new();
    }
    let _one = OneProcessor::take();
    let mut scene = Scene::start(rivals);
    let mut rows = Vec::new();
    if join {
        rows.push(join_row(&mut scene, plan));
    }
    let instance = Instance::join(config(scene.port, scene.directory.path())).expect("join");
    let (registry, tally) = (instance.client(), instance.tally("requests").expect("a tally"));
    let none = Orders { redis: None, dbus: None };
    let redis = |order, name| Orders { redis: Some((order, name)), dbus: None };
    let scene = &mut scene;
    if plan.wants("look-up") {
        let orders =
            Orders { redis: Some(("get", "GET")), dbus: Some(("owner", "D-Bus GetNameOwner")) };
        let own = |times| timed(times, || _ = registry.look_up(FIRST).expect("an entry"));
        rows.push(echo_row(scene, plan, "look-up", "registry look-up", own, &orders));
    }
    let try_acquire = || instance.try_acquire(RESOURCE, 1).expect("a permit");
    if plan.wants("acquire") {
        let own = |times| {
            let mut permits = Vec::with_capacity(times as usize);
            timed(times, || permits.push(try_acquire()))
        };
        rows.push(echo_row(scene, plan, "acquire", "try-acquire", own, &redis("incr", "INCRBY")));
    }
    if plan.wants("release") {
        let own = |times| {
            let mut permits: Vec<_> = (0..times).map(|_| try_acquire()).collect();
            timed(times, || drop(permits.pop()))
        };
        rows.push(echo_row(scene, plan, "release", "release", own, &redis("decr", "INCRBY -1")));
        let own = |times| timed(times, || drop(try_acquire()));
        rows.push(echo_row(
            scene,
            plan,
            "release",
            "try-acquire and release",
            own,
            &redis("pair", "INCRBY, twice"),
        ));
    }
    if plan.wants("tally") {
        let own = |times| timed(times, || _ = tally.add(1));
        rows.push(echo_row(scene, plan, "tally", "tally: add", own, &redis("incr", "INCRBY")));
        let own =
            |times| timed(times, || _ = tally.with_timeout(DEADLINE).total().expect("a total"));
        rows.push(echo_row(scene, plan, "tally", "tally: total", own, &redis("get", "GET")));
    }
    if plan.wants("call") {
        let orders = Orders { redis: None, dbus: Some(("call", "D-Bus method call")) };
        let own = |times| {
            timed(times, || {
                _ = instance
                    .client()
                    .call(FIRST, ECHO_FUNCTION, &[1; ECHO], DEADLINE)
                    .expect("echo")
            })
        };
        rows.push(echo_row(
            scene,
            plan,
            "call",
            "admin call, 32 bytes there and back",
            own,
            &orders,
        ));
    }
    if plan.wants("set") {
        let mut number = 0;
        let own = |times| {
            timed(times, || {
                number += 1;
                instance
                    .client()
                    .with_timeout(DEADLINE)
                    .set("number", &number.to_string())
                    .expect("set");
            })
        };
        rows.push(echo_row(scene, plan, "set", "set, two instances", own, &none));
    }
    rows
}

fn join_row(scene: &mut Scene, plan: &Plan) -> Row {
    let (echo, port, directory) =
        (scene.echo.port(), scene.port, scene.directory.path().to_owned());
    let floor = Subject::new(Kind::Floor, "bare connect, two round trips", move |times| {
        bare_joins(echo, times)
    });
    let own = Subject::new(Kind::Own, "pares", move |times| {
        let one = |_| {
            let config = config(port, &directory);
            let mut joined = None;
            let took = timed(1, || joined = Some(Instance::join(config.clone()).expect("join")));
            drop(joined); // leaving takes its own time
            took[0]
        };
        (0..times).map(one).collect()
    });
    let orders = Orders { redis: Some(("join", "connect and SET")), dbus: None };
    let series = row(scene, plan.rounds(50), 10, floor, own, &orders);
    Row { group: "join", what: "join".into(), size: None, unit: Unit::Time, series }
}
