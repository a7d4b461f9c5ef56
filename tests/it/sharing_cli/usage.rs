//! Who holds what, and limits that change.

use serde_json::json;

use super::{await_waiting, declare, permit, start};
use crate::cli::has_fields;
use crate::support::{Ground, finish};

#[test]
fn usage_shows_limit_use_queue_and_holders() {
    let ground = Ground::new();
    let one = declare(&ground, "one", "slots=5 --resource bays=7");
    assert_eq!(ground.ask("usage").code(0).out, "bays\t7\t0\t0\nslots\t5\t0\t0\n");
    let job = start(&ground, "slots=2 --name job", "echo started; sleep 1000");
    let other = start(&ground, "slots=3 --name other", "echo started; sleep 1000");
    assert_eq!((job.line(), other.line()), ("started".into(), "started".into()));
    let _late = start(&ground, "slots --name late", "echo started");
    await_waiting(&ground, "slots", 1);
    assert_eq!(ground.ask("usage slots").code(0).out, "slots\t5\t5\t1\tjob=2\tother=3\n");
    let listed = ground.ask("usage --json").code(0).json();
    let slots = &listed[1];
    has_fields(slots, &["resource", "limit", "in_use", "waiting", "holders"]);
    has_fields(&slots["holders"][0], &["name", "units"]);
    assert_eq!(
        (&slots["limit"], &slots["in_use"], &slots["waiting"], &slots["holders"]),
        (
            &json!(5),
            &json!(5),
            &json!(1),
            &json!([{"name": "job", "units": 2}, {"name": "other", "units": 3}])
        )
    );
    assert_eq!(ground.ask("usage bays --json").code(0).json()[0]["in_use"], 0);
    ground.ask("usage nonsense").code(4).says("no resource `nonsense`");
    // The only one that has declared it is gone: there is no limit any more, but what is held is
    // held.
    one.kill();
    assert_eq!(
        ground.ask("usage slots --json").code(0).json(),
        json!([{"resource": "slots", "limit": null, "in_use": 5, "waiting": 0, "holders":
            [{"name": "job", "units": 2}, {"name": "other", "units": 3}]}])
    );
    assert_eq!(ground.ask("usage").code(0).out, "slots\t-\t5\t0\tjob=2\tother=3\n");
}

#[test]
fn a_limit_changes_at_once_for_all_and_outlives_the_supervisor() {
    let ground = Ground::new();
    let one = declare(&ground, "one", "slots=1");
    let job = start(&ground, "slots --name job", "echo started; sleep 1000");
    assert_eq!(job.line(), "started");
    let late = start(&ground, "slots --name late", "echo started; sleep 1000");
    await_waiting(&ground, "slots", 1);
    ground.ask("limit slots 2").code(0).silent();
    assert_eq!(late.line(), "started");
    assert_eq!(ground.ask("usage slots").code(0).out, "slots\t2\t2\t0\tjob=1\tlate=1\n");
    one.kill();
    assert_eq!(ground.ask("usage slots").code(0).out, "slots\t2\t2\t0\tjob=1\tlate=1\n");
    ground.ask("limit slots 1").code(0).silent();
    assert_eq!(
        ground.ask("usage slots").code(0).out,
        "slots\t1\t2\t0\tjob=1\tlate=1\n",
        "nothing is taken away"
    );
    ground.ask("limit nonsense 1").code(4).says("no resource `nonsense`");
    ground.ask("limit slots 274877906945").code(2).says("0 to 274877906944");
    ground.ask("limit slots 0").code(0);
    finish(permit(&ground, "slots", "echo started")).code(75).says("raise it with `pares limit`");
}

#[test]
fn a_revoked_permits_command_is_ended_and_its_units_are_free() {
    let ground = Ground::new();
    let _one = declare(&ground, "one", "slots=1");
    let mut job = start(
        &ground,
        "slots --name job",
        "trap 'echo ending; exit 5' TERM; echo started; sleep 1000 & wait",
    );
    assert_eq!(job.line(), "started");
    let late = start(&ground, "slots --name late", "echo started; sleep 1000");
    await_waiting(&ground, "slots", 1);
    assert_eq!(ground.ask("revoke slots job").code(0).out, "1\n");
    assert_eq!(late.line(), "started");
    assert_eq!(job.line(), "ending");
    assert_eq!(job.end_code(), 125);
    assert_eq!(job.stderr(), "pares: the permit was lost: ending sh\n");
    assert_eq!(ground.ask("revoke slots one").code(0).out, "0\n");
    ground.ask("revoke slots nobody").code(4).says("no instance `nobody`");
    ground.ask("revoke nonsense one").code(4).says("no resource `nonsense`");
    assert_eq!(ground.ask("revoke slots late").code(0).out, "1\n");
}
