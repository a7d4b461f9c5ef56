//! Decode and encode, beside memcpy: criterion measures it in the rivals' program, which alone is
//! built with it.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::plan::Plan;
use crate::result::{Kind, Row, Series, Unit};
use crate::rivals::Rivals;

pub(crate) fn rows(plan: &Plan, rivals: &Rivals) -> Vec<Row> {
    if !plan.wants("codec") {
        return Vec::new();
    }
    let directory = tempfile::tempdir().expect("make a directory");
    let measured = rivals.part("codec", &[&directory.path().display()]).map(|mut command| {
        let status =
            command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("run criterion");
        assert!(status.success(), "criterion");
    });
    let row = |name: &str, what: &str| {
        let series = |kind, who, which: &str| match &measured {
            Ok(()) => Series::new(kind, who, rates(directory.path(), which, name)),
            Err(why) => Series::skipped(kind, who, why),
        };
        let series =
            vec![series(Kind::Floor, "memcpy", "copy"), series(Kind::Own, "pares", "code")];
        Row {
            group: "codec",
            what: format!("decode and encode {what}"),
            size: None,
            unit: Unit::BytesPerSecond,
            series,
        }
    };
    vec![row("small", "messages about one permit"), row("large", "messages of 16 KiB")]
}

/// Bytes per second in each of criterion's samples, of both turns.
fn rates(directory: &Path, which: &str, name: &str) -> Vec<f64> {
    let bytes =
        fs::read_to_string(directory.join(format!("{name}.bytes"))).expect("how many bytes");
    let bytes: f64 = bytes.parse().expect("a number");
    let of_turn = |turn| {
        let path = directory.join(format!("{which}-{name}-{turn}/new/sample.json"));
        let samples: Value =
            serde_json::from_slice(&fs::read(path).expect("samples")).expect("JSON");
        let numbers = |name: &str| -> Vec<f64> {
            samples[name].as_array().expect("numbers").iter().filter_map(Value::as_f64).collect()
        };
        let rate = |(times, nanoseconds): (f64, f64)| bytes * times * 1e9 / nanoseconds;
        numbers("iters").into_iter().zip(numbers("times")).map(rate).collect::<Vec<_>>()
    };
    [0, 1].into_iter().flat_map(of_turn).collect()
}
