//! Settings and messages.

use std::process::Command;

use serde_json::{Value, json};

use super::{declare, line_of};
use crate::cli::has_fields;
use crate::support::{Ground, finish};

#[test]
fn a_setting_is_set_read_and_removed() {
    let ground = Ground::new();
    let one = ground.join("one");
    let two = ground.join("two");
    ground.ask("get mode").code(4).says("`mode` is not set");
    ground.ask("get mode --json").code(4);
    ground.ask("set mode fast").code(0).silent();
    assert_eq!(ground.ask("get mode").code(0).out, "fast\n");
    assert_eq!(
        ground.ask("get mode --json").code(0).json(),
        json!({"key": "mode", "value": "fast"})
    );
    for instance in [&one, &two] {
        let event = instance.expect_event("setting");
        has_fields(&event, &["event", "monotonic_ns", "key", "value"]);
        assert_eq!((&event["key"], &event["value"]), (&json!("mode"), &json!("fast")));
    }
    one.kill();
    assert_eq!(ground.ask("get mode").code(0).out, "fast\n", "it survives the supervisor");
    ground.ask("set number -- -5").code(0);
    assert_eq!(ground.ask("settings").code(0).out, "mode\tfast\nnumber\t-5\n");
    ground.ask("set mode --unset").code(0).silent();
    assert_eq!(two.expect_event("setting")["key"], "number");
    let event = two.expect_event("setting");
    assert_eq!((&event["key"], &event["value"]), (&json!("mode"), &Value::Null));
    assert_eq!(
        ground.ask("settings --json").code(0).json(),
        json!([{"key": "number", "value": "-5"}])
    );
    finish(ground.command_of(["set", "a b", "x"])).code(2).says("no white space");
    finish(ground.command_of(["set", "key", &"x".repeat(16 * 1024 + 1)])).code(2);
    finish(ground.command_of(["set", "key", &"x".repeat(16 * 1024)])).code(0);
}

#[test]
fn a_setting_that_has_changed_is_not_overwritten() {
    let ground = Ground::new();
    let _one = ground.join("one");
    ground.ask("set schema 8 --if 7").code(1).says("`schema` is not set");
    ground.ask("set schema 7 --if-unset").code(0).silent();
    ground.ask("set schema 7 --if-unset").code(1).says("to \"7\"");
    ground.ask("set schema 8 --if 7").code(0).silent();
    ground.ask("set schema 9 --if 7").code(1).says("to \"8\"");
    ground.ask("set schema --if 8 -- -9").code(0);
    ground.ask("set schema 10 --if -9").code(0);
    assert_eq!(ground.ask("get schema").code(0).out, "10\n");
}

/// Goal: whatever the value, one setting is one line of two fields, and nothing is lost.
/// Method: a value of every control character; the shell's `printf %b` undoes the escapes.
#[test]
fn a_value_with_control_characters_is_one_field_of_one_line() {
    let ground = Ground::new();
    let plain = ground.start("join --name one");
    assert_eq!(plain.line(), "supervisor\tone\t1");
    let value: String = (1..=0x9f).filter_map(char::from_u32).chain("\\n ende".chars()).collect();
    finish(ground.command_of(["set", "odd", &value])).code(0);
    let listed = ground.ask("settings").code(0).out;
    let escaped =
        listed.strip_prefix("odd\t").and_then(|rest| rest.strip_suffix('\n')).expect("two fields");
    assert!(!escaped.contains(char::is_control), "{escaped}");
    let undone =
        Command::new("sh").args(["-c", "printf %b \"$1\"", "sh", escaped]).output().unwrap();
    assert_eq!(String::from_utf8(undone.stdout).unwrap(), value);
    assert_eq!(ground.ask("get odd").code(0).out, value.clone() + "\n");
    assert_eq!(ground.ask("settings --json").code(0).json()[0]["value"], value);
    assert_eq!(line_of(&plain, "setting"), format!("setting\todd\t{escaped}"));
    ground.ask("set odd --unset").code(0);
    assert_eq!(line_of(&plain, "setting"), "setting\todd");
}

/// Goal: what is not in the contract with those who read JSON is not told to them; others get a
/// line. Method: a broadcast and a limit that is passed, between settings that are told; from a
/// process that is not `pares`.
#[test]
fn messages_and_limits_passed_are_for_people_only() {
    let ground = Ground::new();
    let told = ground.start("join --json --name told --resource slots=2");
    told.role();
    let plain = ground.start("join --name plain");
    plain.line();
    let me = pares::Instance::join(ground.config().name("me")).unwrap();
    me.client().set("first", "1").unwrap();
    let tally = me.tally("slots").unwrap();
    tally.add(3);
    // From here on the supervisor has told the others.
    assert_eq!(tally.total().unwrap(), 3);
    me.broadcast("cache", b"flush\nall").unwrap();
    me.client().set("last", "1").unwrap();
    assert_eq!(line_of(&plain, "over-limit"), "over-limit\tslots\t3\t2");
    assert_eq!(line_of(&plain, "message"), "message\tme\tcache\tflush\\nall");
    let mut kinds = Vec::new();
    while kinds.iter().filter(|kind| *kind == "setting").count() < 2 {
        kinds.push(told.event()["event"].as_str().unwrap().to_owned());
    }
    assert!(!kinds.iter().any(|kind| kind == "over-limit" || kind == "message"), "{kinds:?}");
}

#[test]
fn a_supervisor_that_does_not_answer_is_124() {
    let ground = Ground::new();
    let one = declare(&ground, "one", "slots=1");
    one.stop();
    for question in
        ["usage", "limit slots 3", "revoke slots one", "get key", "set key value", "settings"]
    {
        ground.ask(&format!("{question} --timeout 0.2")).code(124);
    }
}
