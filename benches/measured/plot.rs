//! What is drawn of the figures: one picture for each group that has several sizes.

use std::collections::BTreeMap;

use plotters::style::RGBColor;
use serde_json::Value;

use super::chart::{Axis, Chart, Curve, Scale};
use super::machine::figure;

/// Colours that can be told apart, also by those who see fewer; ours and the floor's are always the
/// same.
const OWN: RGBColor = RGBColor(0x0b, 0x62, 0xb8);
const FLOOR: RGBColor = RGBColor(0x6b, 0x6b, 0x6b);
/// The dashes of one floor and another.
const FLOORS: [(u32, u32); 2] = [(7, 4), (2, 3)];
const OTHERS: [RGBColor; 4] = [
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xa6, 0x3d, 0x8f),
    RGBColor(0xb5, 0x89, 0x00),
];

/// The curves that there are: group, title, what is along the axes.
const CURVES: [(&str, &str, &str); 7] = [
    ("takeover", "Take-over: SIGKILL of the leader until another knows that it leads", "processes"),
    (
        "recovery",
        "Recovery: SIGKILL of the leader until all survivors are registered again",
        "processes",
    ),
    (
        "growth-recovery",
        "Growth: SIGKILL of the supervisor until all survivors are registered again",
        "instances",
    ),
    ("growth-join", "Growth: so many instances join, eight processes at once", "instances"),
    (
        "lost",
        "Connections lost in ten kills: 4 processes serve, each is killed and replaced in its turn",
        "connections per second; 800 can be served",
    ),
    ("memory", "Resident memory of the supervisor for each subordinate", "subordinates"),
    ("throughput", "Permits acquired and released per second", "holders at once"),
];

/// A picture for each group of rows that has more than one size.
pub(crate) fn pictures(rows: &[Value]) -> Vec<(&'static str, String)> {
    let picture = |(group, title, along): (&'static str, &str, &str)| {
        let rows: Vec<&Value> = rows.iter().filter(|row| row["group"] == group).collect();
        let unit = rows.first()?["unit"].as_str()?;
        let curves = curves(&rows);
        let chart = chart(title, along, unit, curves);
        (rows.len() > 1).then_some((group, chart?.draw()))
    };
    CURVES.into_iter().filter_map(picture).collect()
}

fn curves(rows: &[&Value]) -> Vec<Curve> {
    let mut order = Vec::new();
    // Size, median, nine of ten.
    let mut values: BTreeMap<&str, Vec<[f64; 3]>> = BTreeMap::new();
    for row in rows {
        for series in row["series"].as_array().into_iter().flatten() {
            let number = |name: &str| series[name].as_f64().filter(|value| *value > 0.0);
            let (Some(who), Some(size)) = (series["who"].as_str(), row["size"].as_f64()) else {
                continue;
            };
            if let (Some(median), Some(p90)) = (number("median"), number("p90")) {
                if !values.contains_key(who) {
                    order.push((who, series["kind"].as_str().unwrap_or_default()));
                }
                values.entry(who).or_default().push([size, median, p90]);
            }
        }
    }
    let mut others = OTHERS.iter().cycle();
    let mut floors = FLOORS.iter().cycle();
    let curve = |(who, kind): (&str, &str)| {
        let values = values.remove(who).unwrap_or_default();
        let points = values.iter().map(|&[size, median, _]| (size, median)).collect();
        let bars = values.iter().map(|&[.., p90]| p90).collect();
        let (colour, width, dashes) = match kind {
            "pares" => (OWN, 3, None),
            "floor" => (FLOOR, 2, floors.next().copied()),
            _ => (*others.next().expect("a cycle"), 2, None),
        };
        Curve { name: who.to_owned(), colour, dashes, width, points, bars }
    };
    order.into_iter().map(curve).collect()
}

fn chart(title: &str, along: &str, unit: &str, curves: Vec<Curve>) -> Option<Chart> {
    let mut sizes: Vec<f64> =
        curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.0)).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    let values = || {
        let medians = curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.1));
        medians.chain(curves.iter().flat_map(|curve| curve.bars.iter().copied()))
    };
    let least = values().reduce(f64::min)? * 0.8;
    let most = (values().reduce(f64::max)? * 1.25).max(least * 5.0);
    let x = Axis {
        scale: Scale::Logarithmic,
        least: sizes.first()? / 1.25,
        most: sizes.last()? * 1.25,
        marks: sizes.iter().map(|size| (*size, size.to_string())).collect(),
    };
    let y = Axis { scale: Scale::Logarithmic, least, most, marks: marks(least, most, unit) };
    Some(Chart {
        title: title.to_owned(),
        note:
            "Median; the bar reaches to the value that nine of ten are at least as good as. Both \
               axes are logarithmic."
                .to_owned(),
        along: along.to_owned(),
        x,
        y,
        curves,
    })
}

/// Round numbers between these.
fn marks(least: f64, most: f64, unit: &str) -> Vec<(f64, String)> {
    let decades = (most / least).log10();
    // Few decades leave room for more lines between the powers of ten.
    let steps: &[f64] = if decades < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let mut marks = Vec::new();
    let mut power = 10f64.powf(least.log10().floor());
    while power <= most {
        let values = steps.iter().map(|step| step * power);
        let inside = values.filter(|value| (least..=most).contains(value));
        marks.extend(inside.map(|value| (value, round(value, unit))));
        power *= 10.0;
    }
    marks
}

/// A round number as it is written along an axis.
fn round(value: f64, unit: &str) -> String {
    let text = figure(value, unit);
    let (number, name) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()));
    let number = if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    };
    format!("{number}{name}")
}
