//! Where a bench runs, and how its figures are written.

use std::env;
use std::fs;
use std::thread;

use serde_json::{Value, json};

/// Where it all runs; the date only if `PARES_BENCH_DATE` says one.
pub(crate) fn machine() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (cpus, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
            .unwrap_or_else(|| "unknown".into())
    };
    let kib =
        field(&memory, "MemTotal").split(' ').next().and_then(|number| number.parse::<f64>().ok());
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().and_then(|load| load.parse::<f64>().ok());
    json!({
        "cpu": field(&cpus, "model name"),
        "cores": thread::available_parallelism().map_or(0, |cores| cores.get()),
        "memory_gib": kib.map(|kib| (kib / f64::from(1 << 20)).round()),
        "kernel": format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
        "load_before": load,
        "date": env::var("PARES_BENCH_DATE").ok(),
    })
}

/// The load once all is measured.
pub(crate) fn load_after(machine: &mut Value) {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    machine["load_after"] = json!(load.split(' ').next().and_then(|load| load.parse::<f64>().ok()));
}

/// As a sentence's part.
pub(crate) fn place(machine: &Value) -> String {
    let text = |name: &str| match &machine[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let date = machine["date"].as_str().map(|date| format!(", {date}")).unwrap_or_default();
    format!(
        "{}, {} cores, {} GiB, {}{date}; load average {} before the run and {} after it",
        text("cpu"),
        text("cores"),
        machine["memory_gib"].as_f64().unwrap_or_default(),
        text("kernel"),
        text("load_before"),
        text("load_after"),
    )
}

/// The same document, with the paragraph that says where it was measured set to 100 columns.
pub(crate) fn filled(document: &str) -> String {
    let paragraphs = document.split("\n\n").map(|paragraph| {
        if paragraph.starts_with("Measured on") { fill(paragraph) } else { paragraph.to_owned() }
    });
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

fn fill(paragraph: &str) -> String {
    let (mut text, mut columns) = (String::new(), 0);
    for word in paragraph.split_whitespace() {
        let more = word.chars().count() + 1;
        if columns > 0 {
            let fits = columns + more <= 100;
            text.push(if fits { ' ' } else { '\n' });
            columns = if fits { columns } else { 0 };
        }
        text.push_str(word);
        columns += if columns == 0 { more - 1 } else { more };
    }
    text
}

/// A number with three digits that count, in a unit that fits.
pub(crate) fn figure(value: f64, unit: &str) -> String {
    let steps: &[(f64, &str)] = match unit {
        "ns" => &[(1e9, " s"), (1e6, " ms"), (1e3, " µs"), (1.0, " ns")],
        "per second" => &[(1e6, " M/s"), (1e3, " k/s"), (1.0, "/s")],
        "bytes per second" => &[(1e9, " GB/s"), (1e6, " MB/s"), (1.0, " B/s")],
        "bytes" => &[(1024.0 * 1024.0, " MiB"), (1024.0, " KiB"), (1.0, " B")],
        _ => &[(1.0, "")],
    };
    let (step, name) =
        steps.iter().find(|(step, _)| value >= *step).unwrap_or(&steps[steps.len() - 1]);
    let value = value / step;
    let digits = if unit == "count" || value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.digits$}{name}")
}
