//! Curves as SVG: logarithmic axes, one line for each subject, its name in a legend.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use crate::machine::figure;

/// The picture, and the field in it that the axes enclose.
const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 560.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 396.0;

/// Colours that can be told apart, also by those who see fewer; ours and the floor's are always the
/// same.
const OWN: &str = "#0b62b8";
const FLOOR: &str = "#6b6b6b";
const OTHERS: [&str; 4] = ["#d55e00", "#009e73", "#a63d8f", "#b58900"];

/// The curves that there are: group, title, what is along the axes.
const CURVES: [(&str, &str, &str); 6] = [
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
    ("memory", "Resident memory of the supervisor for each subordinate", "subordinates"),
    ("throughput", "Permits acquired and released per second", "holders at once"),
];

struct Curve {
    who: String,
    colour: &'static str,
    dashed: bool,
    /// Size, median, nine of ten.
    points: Vec<(f64, f64, f64)>,
}

/// A picture for each group of rows that has more than one size.
pub(crate) fn pictures(rows: &[Value]) -> Vec<(&'static str, String)> {
    let picture = |(group, title, along): (&'static str, &str, &str)| {
        let rows: Vec<&Value> = rows.iter().filter(|row| row["group"] == group).collect();
        let unit = rows.first()?["unit"].as_str()?;
        let curves = curves(&rows);
        (rows.len() > 1 && !curves.is_empty()).then(|| (group, draw(title, along, unit, &curves)))
    };
    CURVES.into_iter().filter_map(picture).collect()
}

fn curves(rows: &[&Value]) -> Vec<Curve> {
    let mut order = Vec::new();
    let mut points: BTreeMap<&str, Vec<(f64, f64, f64)>> = BTreeMap::new();
    for row in rows {
        for series in row["series"].as_array().into_iter().flatten() {
            let number = |name: &str| series[name].as_f64().filter(|value| *value > 0.0);
            let (Some(who), Some(size)) = (series["who"].as_str(), row["size"].as_f64()) else {
                continue;
            };
            if let (Some(median), Some(p90)) = (number("median"), number("p90")) {
                if !points.contains_key(who) {
                    order.push((who, series["kind"].as_str().unwrap_or_default()));
                }
                points.entry(who).or_default().push((size, median, p90));
            }
        }
    }
    let mut others = OTHERS.iter().cycle();
    let curve = |(who, kind): (&str, &str)| Curve {
        who: who.to_owned(),
        colour: match kind {
            "pares" => OWN,
            "floor" => FLOOR,
            _ => others.next().expect("a cycle"),
        },
        dashed: kind == "floor",
        points: points.remove(who).unwrap_or_default(),
    };
    order.into_iter().map(curve).collect()
}

/// A logarithmic axis from one place of the picture to another.
struct Axis {
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn place(&self, value: f64) -> f64 {
        let share = (value / self.least).ln() / (self.most / self.least).ln();
        self.from + share * (self.to - self.from)
    }
}

fn draw(title: &str, along: &str, unit: &str, curves: &[Curve]) -> String {
    let points = || curves.iter().flat_map(|curve| curve.points.iter());
    let least = |of: fn(&(f64, f64, f64)) -> f64| points().map(of).fold(f64::INFINITY, f64::min);
    let most = |of: fn(&(f64, f64, f64)) -> f64| points().map(of).fold(0.0, f64::max);
    let x = Axis {
        least: least(|point| point.0) / 1.25,
        most: most(|point| point.0) * 1.25,
        from: LEFT,
        to: RIGHT,
    };
    let low = least(|point| point.1.min(point.2)) * 0.8;
    let high = most(|point| point.1.max(point.2)) * 1.25;
    let y = Axis { least: low, most: high.max(low * 5.0), from: BOTTOM, to: TOP };
    let mut svg = String::new();
    let out = &mut svg;
    _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif\" font-size=\"13\" \
         fill=\"#222\">\n\
         <title>{}</title>\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"24\" y=\"30\" font-size=\"16\" font-weight=\"600\">{}</text>\n\
         <text x=\"24\" y=\"50\" fill=\"#666\">median; the bar reaches to the value that nine of \
         ten are at least as good as; \
         both axes logarithmic</text>",
        escape(title),
        escape(title)
    );
    grid(out, &x, &y, along, unit, curves);
    for curve in curves {
        line(out, &x, &y, curve);
    }
    legend(out, curves);
    svg.push_str("</svg>\n");
    svg
}

/// The lines behind the curves, with their numbers.
fn grid(out: &mut String, x: &Axis, y: &Axis, along: &str, unit: &str, curves: &[Curve]) {
    let decades = (y.most / y.least).log10();
    // Few decades leave room for more lines between the powers of ten.
    let steps: &[f64] = if decades < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let mut power = 10f64.powf(y.least.log10().floor());
    while power <= y.most {
        for value in
            steps.iter().map(|step| step * power).filter(|value| (y.least..=y.most).contains(value))
        {
            let at = y.place(value);
            _ = writeln!(
                out,
                "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\" \
                 stroke=\"#e4e4e4\"/>\n\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                at + 4.5,
                round(value, unit)
            );
        }
        power *= 10.0;
    }
    let mut sizes: Vec<u64> =
        curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.0 as u64)).collect();
    sizes.sort_unstable();
    sizes.dedup();
    for size in sizes {
        let at = x.place(size as f64);
        _ = writeln!(
            out,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{BOTTOM}\" y2=\"{:.1}\" stroke=\"#888\"/>\n\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{size}</text>",
            BOTTOM + 5.0,
            BOTTOM + 21.0
        );
    }
    _ = writeln!(
        out,
        "<path d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\" fill=\"none\" stroke=\"#888\"/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        (LEFT + RIGHT) / 2.0,
        BOTTOM + 46.0,
        escape(along)
    );
}

fn line(out: &mut String, x: &Axis, y: &Axis, curve: &Curve) {
    let colour = curve.colour;
    let places: Vec<String> = curve
        .points
        .iter()
        .map(|point| format!("{:.1},{:.1}", x.place(point.0), y.place(point.1)))
        .collect();
    let dashes = if curve.dashed { " stroke-dasharray=\"6 4\"" } else { "" };
    let width = if colour == OWN { 3.0 } else { 2.0 };
    _ = writeln!(
        out,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" \
         stroke-width=\"{width}\"{dashes}/>",
        places.join(" ")
    );
    for &(size, median, p90) in &curve.points {
        let (at, from, to) = (x.place(size), y.place(median), y.place(p90));
        _ = writeln!(
            out,
            "<path d=\"M{at:.1} {from:.1}V{to:.1}M{:.1} {to:.1}h8\" fill=\"none\" \
             stroke=\"{colour}\" opacity=\"0.7\"/>\n\
             <circle cx=\"{at:.1}\" cy=\"{from:.1}\" r=\"3.5\" fill=\"{colour}\"/>",
            at - 4.0
        );
    }
}

fn legend(out: &mut String, curves: &[Curve]) {
    for (row, curve) in curves.iter().enumerate() {
        let at = TOP + 16.0 + 24.0 * row as f64;
        let dashes = if curve.dashed { " stroke-dasharray=\"6 4\"" } else { "" };
        let weight = if curve.colour == OWN { " font-weight=\"600\"" } else { "" };
        _ = writeln!(
            out,
            "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"{}\" \
             stroke-width=\"3\"{dashes}/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\"{weight}>{}</text>",
            RIGHT + 16.0,
            RIGHT + 40.0,
            curve.colour,
            RIGHT + 48.0,
            at + 4.5,
            escape(&curve.who)
        );
    }
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

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
