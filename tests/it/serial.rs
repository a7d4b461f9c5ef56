//! What programs serialize of what the library tells, and what they read back.

use crate::support::PATIENCE;
use pares::masterless::{PeerId, Tail, Token};
use pares::{Client, Config, EventKind, Instance};
use serde_json::{Value, json, to_string, to_value};

fn config() -> std::io::Result<(Config, tempfile::TempDir)> {
    Ok(include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/group.rs")))
}

#[test]
fn what_the_library_tells_is_serialized_in_the_commands_words() {
    let (config, _directory) = config().unwrap();
    let config = config.meta("zone", "eu").meta("a", "1").meta("zone", "us").name("one");
    let instance = Instance::join(config.clone()).unwrap();
    let events = instance.events();
    let event = events.recv_timeout(PATIENCE).unwrap();
    let EventKind::Supervisor { term } = event.kind else { panic!("{event:?}") };
    let text =
        format!(r#"{{"monotonic_ns":{},"event":"supervisor","term":{term}}}"#, event.monotonic_ns);
    assert_eq!(to_string(&event).unwrap(), text);

    instance.broadcast("hello", b"\xff\0").unwrap();
    let message = std::iter::from_fn(|| events.recv_timeout(PATIENCE).ok())
        .map(|event| to_value(event.kind).unwrap())
        .find(|event| event["event"] == "message");
    let expected =
        json!({ "event": "message", "from": "one", "topic": "hello", "payload": [255, 0] });
    assert_eq!(message, Some(expected), "bytes need not be a text");

    let client = Client::new(&config).unwrap();
    let listing = to_value(client.list().unwrap()).unwrap();
    assert_eq!((&listing["supervisor"], &listing["term"]), (&json!("one"), &json!(term)));
    let entry = &listing["entries"][0];
    assert_eq!(entry["admin"], instance.entry().admin_port);
    let meta = &entry["meta"];
    assert_eq!(to_string(meta).unwrap(), r#"{"a":"1","zone":"us"}"#, "the last of a key");
    let status = to_value(client.status().unwrap()).unwrap();
    assert_eq!(status["cause"], "started");
    assert_eq!(status["supervisor_admin"], entry["admin"]);
    assert_eq!(to_value(instance.role()).unwrap(), "supervisor");
}

#[test]
fn a_store_reads_back_the_token_that_it_keeps() {
    let text = r#"{"epoch":18446744073709551615,"id":"80.00000003.00112233445566778899aa"}"#;
    let token: Token = serde_json::from_str(text).unwrap();
    assert_eq!((token.epoch, token.id.rank(), token.id.sequence()), (u64::MAX, 0x80, 3));
    assert_eq!(to_string(&token).unwrap(), text);
    let tail: Tail = serde_json::from_value(json!("00112233445566778899aa")).unwrap();
    assert_eq!(tail, token.id.tail());
}

#[test]
fn what_is_no_identifier_is_not_read_as_one() {
    let tail = "00112233445566778899aa";
    let whole = format!("80.00000003.{tail}");
    assert_eq!(whole.parse::<PeerId>().unwrap().to_string(), whole);
    for wrong in [
        String::new(),
        tail.into(),
        format!("80.3.{tail}"),
        format!("080.00000003.{tail}"),
        format!("+8.00000003.{tail}"),
        format!("80.+0000003.{tail}"),
        format!("80.00000003.{tail}0"),
        format!("80.00000003.{tail} "),
        format!(" 80.00000003.{tail}"),
        format!("80.00000003.{}", &tail[1..]),
        format!("80.00000003.0.{tail}"),
        format!("8\u{661}.00000003.{tail}"),
    ] {
        assert!(wrong.parse::<PeerId>().is_err(), "{wrong:?}");
        assert!(serde_json::from_value::<PeerId>(Value::from(wrong)).is_err());
    }
    assert!(serde_json::from_value::<PeerId>(json!(3)).is_err());
}
