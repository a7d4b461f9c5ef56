//! One picture: which share of the take-overs was over after how many intervals.

use std::fmt::Write;

use serde_json::Value;

use crate::report::{by_size, list, numbers};

/// The picture, and the field in it that the axes enclose.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 560.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 396.0;

/// Colours that can be told apart, also by those who see fewer.
const OWN: &str = "#0b62b8";
const OWN_QUICK: &str = "#56b4e9";
const OWN_NEWS: &str = "#009e73";
const OWN_SPARSE: &str = "#cc79a7";
const OTHER: &str = "#d55e00";
const SIMULATED: [(u64, &str); 3] = [(2, "#bdbdbd"), (10, "#8a8a8a"), (100, "#555555")];

struct Curve {
    who: String,
    colour: &'static str,
    dashes: &'static str,
    /// In intervals, in order.
    values: Vec<f64>,
}

/// With all hosts that were measured at most; the simulator's curves if its figures are given.
pub(crate) fn picture(report: &Value, simulated: &Value) -> String {
    let interval = report["interval_ms"].as_f64().expect("an interval");
    let rows = list(&report["rows"]);
    let hosts = rows.iter().filter_map(|row| row["hosts"].as_u64()).max().unwrap_or_default();
    let mut curves = Vec::new();
    for (group, after, dashes) in [("sigkill", "SIGKILL", ""), ("vanish", "cable cut", "7 4")] {
        let of_group = rows.iter().filter(|row| row["group"] == group && row["hosts"] == hosts);
        for series in of_group.flat_map(|row| list(&row["series"])) {
            let values: Vec<f64> =
                numbers(&series["values"]).into_iter().map(|ms| ms / interval).collect();
            let who = series["who"].as_str().unwrap_or_default();
            let (who, colour) = match who.split_once(", ") {
                Some((_, "hosts")) => ("pares", OWN),
                Some((_, "hosts, delay 20 ms")) => ("pares, delay 20 ms", OWN_QUICK),
                Some((_, "hosts, as few datagrams in all as keepalived")) => {
                    ("pares, as few datagrams", OWN_SPARSE)
                }
                Some(_) => ("pares, with the kernel's news", OWN_NEWS),
                None => (who, OTHER),
            };
            curves.push(Curve { who: format!("{who}, {after}"), colour, dashes, values });
        }
    }
    for (size, values) in by_size(&simulated["takeover_H"]) {
        if let Some((_, colour)) = SIMULATED.into_iter().find(|(drawn, _)| *drawn == size) {
            curves.push(Curve {
                who: format!("simulator, {size} processes"),
                colour,
                dashes: "2 3",
                values,
            });
        }
    }
    curves.retain(|curve| !curve.values.is_empty());
    draw(
        &format!(
            "Take-over with {hosts} hosts: share of the faults after which another led within this \
             time"
        ),
        &curves,
    )
}

fn draw(title: &str, curves: &[Curve]) -> String {
    let most = curves
        .iter()
        .filter_map(|curve| curve.values.last())
        .fold(1.0, |most: f64, value| most.max(*value));
    let end = (most + 0.2).ceil();
    let x = |value: f64| LEFT + (RIGHT - LEFT) * value / end;
    let y = |share: f64| BOTTOM - (BOTTOM - TOP) * share;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif\" font-size=\"13\" \
         fill=\"#222\">\n\
         <title>{title}</title>\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"24\" y=\"30\" font-size=\"16\" font-weight=\"600\">{title}</text>\n"
    );
    let out = &mut svg;
    for number in 0..=end as u32 {
        let at = x(f64::from(number));
        _ = writeln!(
            out,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{BOTTOM}\" \
             stroke=\"#e4e4e4\"/>\n\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{number}</text>",
            BOTTOM + 21.0
        );
    }
    for percent in [0, 25, 50, 75, 100] {
        let at = y(f64::from(percent) / 100.0);
        _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\" \
             stroke=\"#e4e4e4\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{percent} %</text>",
            LEFT - 8.0,
            at + 4.5
        );
    }
    _ = writeln!(
        out,
        "<path d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\" fill=\"none\" stroke=\"#888\"/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">intervals between two heartbeats \
         (H)</text>",
        (LEFT + RIGHT) / 2.0,
        BOTTOM + 46.0
    );
    for (row, curve) in curves.iter().enumerate() {
        let count = curve.values.len() as f64;
        let mut path = format!("M{:.1} {:.1}", x(0.0), y(0.0));
        for (at, value) in curve.values.iter().enumerate() {
            _ = write!(path, "H{:.1}V{:.1}", x(*value), y((at + 1) as f64 / count));
        }
        let dashes = if curve.dashes.is_empty() {
            String::new()
        } else {
            format!(" stroke-dasharray=\"{}\"", curve.dashes)
        };
        let at = TOP + 16.0 + 24.0 * row as f64;
        let style = format!("fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{dashes}", curve.colour);
        _ = writeln!(
            out,
            "<path d=\"{path}H{RIGHT}\" {style}/>\n<path d=\"M{:.1} {at:.1}h28\" {style}/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            RIGHT + 16.0,
            RIGHT + 52.0,
            at + 4.5,
            curve.who
        );
    }
    svg.push_str("</svg>\n");
    svg
}
