//! What was measured, as JSON, and as a document with a picture.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::figures::{by_size, list, numbers, quantile};
use crate::keepalived;
use crate::machine::{filled, load_after, place};
use crate::plot;
use crate::subject::INTERVAL;

/// The document around the figures.
const DOCUMENT: &str = include_str!("measured-masterless.md");

/// Into `docs/` if everything was measured as it should be, else where it does not pass for that.
/// Gives the document's path.
pub(crate) fn write(mut machine: Value, rows: Vec<Value>, whole: bool) -> PathBuf {
    load_after(&mut machine);
    let report = json!({
        "machine": machine,
        "version": env!("CARGO_PKG_VERSION"),
        "keepalived": keepalived::version(),
        "interval_ms": INTERVAL.as_millis() as u64,
        "rows": rows,
    });
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join(if whole { "docs" } else { "target/masterless" });
    fs::create_dir_all(&folder).expect("make the folder");
    let file = folder.join("measured-masterless.json");
    fs::write(&file, lines(&report)).expect("write the JSON");
    render(&file)
}

/// With a line for each series.
fn lines(report: &Value) -> String {
    let mut text = String::from("{\n");
    for name in ["machine", "version", "keepalived", "interval_ms"] {
        _ = writeln!(text, "  \"{name}\": {},", report[name]);
    }
    let rows = list(&report["rows"]).iter().map(|row| {
        let mut head = row.clone();
        let series = head.as_object_mut().and_then(|row| row.remove("series")).unwrap_or_default();
        let series: Vec<String> = list(&series).iter().map(|one| format!("      {one}")).collect();
        let head = head.to_string();
        format!(
            "    {}, \"series\": [\n{}\n    ]}}",
            head.trim_end_matches('}'),
            series.join(",\n")
        )
    });
    let rows: Vec<String> = rows.collect();
    _ = write!(text, "  \"rows\": [\n{}\n  ]\n}}\n", rows.join(",\n"));
    text
}

/// Everything that is made of the JSON, and of the simulator's if it is there: the document, whose
/// path it gives, and its picture.
pub(crate) fn render(file: &Path) -> PathBuf {
    let read = |file: &Path| {
        fs::read(file).map(|text| serde_json::from_slice::<Value>(&text).expect("JSON"))
    };
    let report = read(file).expect("read the JSON");
    let folder = file.parent().expect("a file in a folder");
    let simulated = read(&folder.join("measured-masterless-sim.json")).unwrap_or_default();
    fs::write(folder.join("measured-masterless.svg"), plot::picture(&report, &simulated))
        .expect("write the picture");
    let keepalived = report["keepalived"].as_str().unwrap_or("no keepalived");
    let document = DOCUMENT
        .replace("{machine}", &place(&report["machine"]))
        .replace("{keepalived}", keepalived)
        .replace("{interval}", &report["interval_ms"].to_string());
    let document = filled(&document)
        .replace("{table}", &table(&report))
        .replace("{datagrams}", &datagrams(&report))
        .replace("{simulated}", &simulated_table(&simulated));
    let path = folder.join("measured-masterless.md");
    fs::write(&path, document).expect("write the document");
    path
}

fn name(series: &Value) -> String {
    let who = series["who"].as_str().unwrap_or_default();
    if series["kind"] == "pares" { format!("**{who}**") } else { who.to_owned() }
}

fn rows<'a>(report: &'a Value, unit: &'a str) -> impl Iterator<Item = &'a Value> {
    list(&report["rows"]).iter().filter(move |row| row["unit"] == unit)
}

fn table(report: &Value) -> String {
    let interval = report["interval_ms"].as_f64().expect("an interval");
    let mut text = String::from(
        "| until another leads, after | who | median | 9 of 10 | most | median in H | n \
         |\n|---|---|---:|---:|---:|---:|---:|\n",
    );
    for row in rows(report, "ms") {
        let mut what = row["what"].as_str().unwrap_or_default();
        for series in list(&row["series"]) {
            let who = name(series);
            if let Some(why) = series["skipped"].as_str() {
                _ = writeln!(text, "| {what} | {who} | skipped: {why} | | | | |");
            } else {
                let values = numbers(&series["values"]);
                let [median, p90, most] = [0.5, 0.9, 1.0].map(|at| quantile(&values, at));
                let in_h = median / interval;
                let count = values.len();
                _ = writeln!(
                    text,
                    "| {what} | {who} | {median:.1} ms | {p90:.1} ms | {most:.1} ms | {in_h:.2} | \
                     {count} |"
                );
            }
            what = "";
        }
    }
    text.trim_end().to_owned()
}

fn datagrams(report: &Value) -> String {
    let mut text = String::from(
        "| when nothing happens | who | all hosts | each process |\n|---|---|---:|---:|\n",
    );
    for row in rows(report, "per second") {
        let mut what = row["what"].as_str().unwrap_or_default();
        for series in list(&row["series"]) {
            let who = name(series);
            if let Some(why) = series["skipped"].as_str() {
                _ = writeln!(text, "| {what} | {who} | skipped: {why} | |");
            } else {
                _ = writeln!(
                    text,
                    "| {what} | {who} | {:.2} | {:.2} |",
                    series["all"].as_f64().unwrap_or_default(),
                    series["each"].as_f64().unwrap_or_default()
                );
            }
            what = "";
        }
    }
    text.trim_end().to_owned()
}

fn simulated_table(simulated: &Value) -> String {
    let Some(figures) = simulated.as_object() else {
        return "No figures of the simulator are here.".into();
    };
    let mut text = String::from(
        "| figure | processes | median | 9 of 10 | 99 of 100 | most | n \
         |\n|---|---:|---:|---:|---:|---:|---:|\n",
    );
    for (figure, values) in figures {
        for (size, values) in by_size(values) {
            let [median, p90, p99, most] = [0.5, 0.9, 0.99, 1.0].map(|at| quantile(&values, at));
            let count = values.len();
            _ = writeln!(
                text,
                "| {figure} | {size} | {median:.2} | {p90:.2} | {p99:.2} | {most:.2} | {count} |"
            );
        }
    }
    text.trim_end().to_owned()
}
