//! What was measured, as JSON, as a table, and as documents with pictures.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::machine::{figure, filled, load_after, place};
use crate::plot;

/// The document around the figures.
const DOCUMENT: &str = include_str!("measured.md");

pub(crate) fn report(mut machine: Value, rows: Vec<Value>) -> Value {
    load_after(&mut machine);
    json!({ "machine": machine, "version": env!("CARGO_PKG_VERSION"), "rows": rows })
}

/// The cells of one subject: who, median, nine of ten, ratio.
fn cells(row: &Value, series: &Value) -> [String; 4] {
    let who = series["who"].as_str().unwrap_or_default().to_owned();
    if let Some(why) = series["skipped"].as_str() {
        return [who, format!("skipped: {why}"), String::new(), String::new()];
    }
    let unit = row["unit"].as_str().unwrap_or_default();
    let value =
        |name: &str| series[name].as_f64().map_or("–".into(), |value| figure(value, unit));
    let ratio = match series["ratio"].as_f64() {
        Some(ratio) if series["kind"] != "floor" => figure(ratio, "ratio").replace(".00", ".0"),
        _ => String::new(),
    };
    [who, value("median"), value("p90"), ratio]
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// On standard output, as soon as the rows are known.
pub(crate) fn print(rows: &[Value]) {
    for row in rows {
        println!(
            "\n{:<46}{:>12}{:>12}{:>10}",
            row["what"].as_str().unwrap_or_default(),
            "median",
            "9 of 10",
            "× floor"
        );
        for series in list(&row["series"]) {
            let [who, median, p90, ratio] = cells(row, series);
            if p90.is_empty() {
                println!("  {who:<44}  {median}");
            } else {
                println!("  {who:<44}{median:>12}{p90:>12}{ratio:>10}");
            }
        }
    }
}

/// Into `docs/` and the README if everything was measured as it should be, else where it does not
/// pass for that. Gives the document's path.
pub(crate) fn write(report: &Value, whole: bool) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder: PathBuf = if whole { root.join("docs") } else { root.join("target/measured") };
    fs::create_dir_all(&folder).expect("make the folder");
    let file = folder.join("measured.json");
    let text = serde_json::to_string_pretty(report).expect("JSON");
    fs::write(&file, text + "\n").expect("write the JSON");
    render(&file)
}

/// Everything that is made of the JSON: the document, whose path it gives, and its pictures.
pub(crate) fn render(file: &Path) -> PathBuf {
    let report: Value =
        serde_json::from_slice(&fs::read(file).expect("read the JSON")).expect("JSON");
    let folder = file.parent().expect("a file in a folder");
    let mut pictures = String::new();
    for (group, picture) in plot::pictures(list(&report["rows"])) {
        let name = format!("measured-{group}.svg");
        fs::write(folder.join(&name), picture).expect("write a picture");
        _ = writeln!(pictures, "![{group}]({name})\n");
    }
    let document = DOCUMENT.replace("{machine}", &place(&report["machine"]));
    let document = filled(&document).replace("{table}", &table(&report));
    let path = folder.join("measured.md");
    fs::write(&path, document.replace("{pictures}\n", pictures.trim_end_matches('\n')))
        .expect("write the document");
    if folder.ends_with("docs") {
        renew_readme(&report);
    }
    path
}

/// Where the README has its own, shorter table; between these.
const BEGIN: &str = "<!-- The table is written by `cargo bench --bench measured`. -->\n\n";
const END: &str = "\n<!-- End of the table. -->";

/// Puts the short table into the README.
fn renew_readme(report: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(&path).expect("read the README");
    let (before, rest) = readme.split_once(BEGIN).expect("where the table begins");
    let (_, after) = rest.split_once(END).expect("where the table ends");
    fs::write(&path, [before, BEGIN, &summary(report), END, after].concat())
        .expect("write the README");
}

/// The README's rows, by group and size: what a stranger asks first. The document has all.
const FOR_README: [(&str, Option<u64>); 5] = [
    ("takeover", Some(8)),
    ("growth-recovery", Some(10_000)),
    ("look-up", None),
    ("acquire", None),
    ("idle", Some(10_000)),
];

/// The first row of a group and size, which a whole run always has.
fn row_of<'a>(report: &'a Value, group: &str, size: Option<u64>) -> &'a Value {
    let mut rows = list(&report["rows"]).iter();
    rows.find(|row| row["group"] == group && row["size"].as_u64() == size)
        .unwrap_or_else(|| panic!("no row {group} {size:?}"))
}

/// A line for each row: the floor, ours, and the nearest of those that users could take instead.
fn summary(report: &Value) -> String {
    let mut text = filled(&format!("Measured on {}. Medians:", place(&report["machine"])));
    text.push_str("\n\n");
    text.push_str("| | floor | pares | × floor | nearest rival |\n|---|---:|---:|---:|---:|\n");
    for row in FOR_README.iter().map(|(group, size)| row_of(report, group, *size)) {
        let of_kind = |kind: &'static str| {
            list(&row["series"]).iter().filter(move |series| series["kind"] == kind)
        };
        let [.., median, _, ratio] =
            of_kind("pares").next().map(|own| cells(row, own)).unwrap_or_default();
        let floor =
            of_kind("floor").next().map(|floor| cells(row, floor)[1].clone()).unwrap_or_default();
        let more_is_better = row["unit"].as_str().is_some_and(|unit| unit.ends_with("per second"));
        let near = |series: &&Value| {
            let median = series["median"].as_f64().expect("measured");
            if more_is_better { -median } else { median }
        };
        let measured = of_kind("rival").filter(|rival| rival["median"].is_number());
        let rival = measured.min_by(|one, other| near(one).total_cmp(&near(other)));
        let rival = rival
            .map(|rival| cells(row, rival))
            .map(|[who, median, ..]| format!("{who}: {median}"));
        let what = row["what"].as_str().unwrap_or_default();
        _ = writeln!(
            text,
            "| {what} | {floor} | {median} | {ratio} | {} |",
            rival.unwrap_or_default()
        );
    }
    text
}

fn table(report: &Value) -> String {
    let mut text = String::from(
        "| what | who | median | 9 of 10 | × floor | n |\n|---|---|---:|---:|---:|---:|\n",
    );
    for row in list(&report["rows"]) {
        let mut what = row["what"].as_str().unwrap_or_default();
        for series in list(&row["series"]) {
            let [who, median, p90, ratio] = cells(row, series);
            let who = match series["kind"].as_str() {
                Some("floor") => format!("*{who}*"),
                Some("pares") => format!("**{who}**"),
                _ => who,
            };
            let count = series["count"].as_u64().map(|count| count.to_string()).unwrap_or_default();
            _ = writeln!(text, "| {what} | {who} | {median} | {p90} | {ratio} | {count} |");
            what = "";
        }
    }
    text.trim_end().to_owned()
}
