//! One picture: which share of the take-overs was over after how many intervals.

use plotters::style::RGBColor;
use serde_json::Value;

use super::chart::{Axis, Chart, Curve, Scale};
use super::figures::{by_size, list, numbers};

/// Colours that can be told apart, also by those who see fewer.
const OWN: RGBColor = RGBColor(0x0b, 0x62, 0xb8);
const OWN_QUICK: RGBColor = RGBColor(0x56, 0xb4, 0xe9);
const OWN_NEWS: RGBColor = RGBColor(0x00, 0x9e, 0x73);
const OWN_SPARSE: RGBColor = RGBColor(0xcc, 0x79, 0xa7);
const OTHER: RGBColor = RGBColor(0xd5, 0x5e, 0x00);
const SIMULATED: [(u64, RGBColor); 3] = [
    (2, RGBColor(0xbd, 0xbd, 0xbd)),
    (10, RGBColor(0x8a, 0x8a, 0x8a)),
    (100, RGBColor(0x55, 0x55, 0x55)),
];

struct Faults {
    who: String,
    colour: RGBColor,
    dashes: Option<(u32, u32)>,
    /// In intervals, in order.
    values: Vec<f64>,
}

/// With all hosts that were measured at most; the simulator's curves if its figures are given.
pub(crate) fn picture(report: &Value, simulated: &Value) -> String {
    let interval = report["interval_ms"].as_f64().expect("an interval");
    let rows = list(&report["rows"]);
    let hosts = rows.iter().filter_map(|row| row["hosts"].as_u64()).max().unwrap_or_default();
    let mut curves = Vec::new();
    for (group, after, dashes) in
        [("sigkill", "SIGKILL", None), ("vanish", "cable cut", Some((7, 4)))]
    {
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
            curves.push(Faults { who: format!("{who}, {after}"), colour, dashes, values });
        }
    }
    for (size, values) in by_size(&simulated["takeover_H"]) {
        if let Some((_, colour)) = SIMULATED.into_iter().find(|(drawn, _)| *drawn == size) {
            curves.push(Faults {
                who: format!("simulator, {size} processes"),
                colour,
                dashes: Some((2, 3)),
                values,
            });
        }
    }
    curves.retain(|curve| !curve.values.is_empty());
    chart(hosts, curves).draw()
}

fn chart(hosts: u64, faults: Vec<Faults>) -> Chart {
    let longest = faults.iter().filter_map(|faults| faults.values.last());
    let end = (longest.fold(1.0, |most: f64, value| most.max(*value)) + 0.2).ceil();
    let whole = (0..=end as u32).map(|number| (f64::from(number), number.to_string()));
    let shares = [0, 25, 50, 75, 100].map(|share| (f64::from(share), format!("{share} %")));
    Chart {
        title: format!("Take-over with {hosts} hosts"),
        note: "Share of the faults after which another led within this time.".to_owned(),
        along: "intervals between two heartbeats (H)".to_owned(),
        x: Axis { scale: Scale::Linear, least: 0.0, most: end, marks: whole.collect() },
        y: Axis { scale: Scale::Linear, least: 0.0, most: 100.0, marks: shares.into() },
        curves: faults.into_iter().map(curve).collect(),
    }
}

/// A step for each fault.
fn curve(faults: Faults) -> Curve {
    let count = faults.values.len() as f64;
    let mut points = Vec::new();
    let mut share = 0.0;
    for (at, value) in faults.values.into_iter().enumerate() {
        points.push((value, share));
        share = 100.0 * (at + 1) as f64 / count;
        points.push((value, share));
    }
    let Faults { who: name, colour, dashes, .. } = faults;
    Curve { name, colour, dashes, width: 2, points, bars: Vec::new() }
}
