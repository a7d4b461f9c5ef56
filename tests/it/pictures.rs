//! The pictures of the documents: drawn of the figures beside them, and readable.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use plotters::style::RGBColor;
use serde_json::Value;

use chart::{Axis, Chart, Curve, Scale};

#[path = "../../benches/measured/chart.rs"]
mod chart;
#[path = "../../benches/masterless/figures.rs"]
#[expect(dead_code, reason = "the bench writes tables, too")]
mod figures;
#[path = "../../benches/measured/machine.rs"]
#[expect(dead_code, reason = "the bench says where it runs")]
mod machine;
#[path = "../../benches/measured/plot.rs"]
mod of_groups;
#[path = "../../benches/masterless/plot.rs"]
mod of_takeovers;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

fn read(name: &str) -> Value {
    serde_json::from_slice(&fs::read(docs().join(name)).unwrap()).unwrap()
}

/// All pictures that the figures of the documents give, by their files' names.
fn drawn() -> Vec<(String, String)> {
    let report = read("measured.json");
    let groups = of_groups::pictures(report["rows"].as_array().unwrap());
    let name = |group: &str| format!("measured-{group}.svg");
    let mut drawn: Vec<_> = groups.into_iter().map(|(group, svg)| (name(group), svg)).collect();
    let (report, simulated) =
        (read("measured-masterless.json"), read("measured-masterless-sim.json"));
    drawn.push((name("masterless"), of_takeovers::picture(&report, &simulated)));
    drawn
}

/// Goal: who changes how a picture is drawn, or its figures, does not leave an old one behind.
/// Method: all are drawn again.
#[test]
fn the_pictures_of_the_documents_are_those_of_the_figures_beside_them() {
    let drawn = drawn();
    for (name, svg) in &drawn {
        let kept = fs::read_to_string(docs().join(name)).unwrap();
        assert!(kept == *svg, "{name} is another; the benches' `render FILE` draws it");
    }
    let files = fs::read_dir(docs()).unwrap().flatten();
    let files = files.map(|file| file.file_name().into_string().unwrap());
    let kept: BTreeSet<String> = files.filter(|name| name.ends_with(".svg")).collect();
    assert_eq!(kept, drawn.into_iter().map(|(name, _)| name).collect());
}

/// A text and the room it takes, as far as that can be known without its font.
struct Text {
    words: String,
    from: (f64, f64),
    to: (f64, f64),
}

/// The value of an attribute.
fn attribute<'a>(element: &'a str, name: &str) -> &'a str {
    let (_, rest) = element.split_once(&format!(" {name}=\"")).unwrap_or_else(|| {
        panic!("no {name} in {element}");
    });
    rest.split('"').next().unwrap()
}

fn number(element: &str, name: &str) -> f64 {
    attribute(element, name).parse().unwrap()
}

fn texts(svg: &str) -> Vec<Text> {
    let text = |element: &str| {
        let (head, words) = element.split_once(">\n").unwrap();
        let words = words.split_once("\n</text>").unwrap().0;
        let words = words.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        let size = number(head, "font-size");
        // As wide as fonts without serifs are at most, over a whole text.
        let width = words.chars().count() as f64 * size * 0.6;
        let x = number(head, "x");
        let left = match attribute(head, "text-anchor") {
            "start" => x,
            "middle" => x - width / 2.0,
            "end" => x - width,
            other => panic!("{other}"),
        };
        let y = number(head, "y");
        let top = match attribute(head, "dy") {
            "0.76em" => y,
            "0.5ex" => y - size / 2.0,
            "-0.5ex" => y - size,
            other => panic!("{other}"),
        };
        assert!(size >= 12.0, "{words} is too small to read");
        Text { words, from: (left, top), to: (left + width, top + size) }
    };
    svg.split("<text").skip(1).map(text).collect()
}

#[track_caller]
fn is_readable(name: &str, svg: &str) {
    let (root, _) = svg.split_once('>').unwrap();
    let (width, height) = (number(root, "width"), number(root, "height"));
    assert!(width <= 700.0, "{name} is {width} wide: a page makes it smaller");
    let ground = svg.lines().find(|line| line.starts_with("<rect")).unwrap();
    assert_eq!(attribute(ground, "fill"), "#FFFFFF", "{name} would be dark on a dark page");
    assert_eq!((number(ground, "width"), number(ground, "height")), (width, height));
    let texts = texts(svg);
    assert!(texts.len() > 5, "{name} has only {} texts", texts.len());
    for (at, text) in texts.iter().enumerate() {
        let Text { words, from, to } = text;
        let is_inside = from.0 >= 0.0 && from.1 >= 0.0 && to.0 <= width && to.1 <= height;
        assert!(is_inside, "{name} cuts off `{words}`");
        for other in &texts[at + 1..] {
            let apart = to.0 <= other.from.0
                || other.to.0 <= from.0
                || to.1 <= other.from.1
                || other.to.1 <= from.1;
            assert!(apart, "{name}: `{words}` lies on `{}`", other.words);
        }
    }
}

/// Goal: nothing of a picture is cut off, lies on another text or is too small, as wide as a page
/// shows it; and it has a ground of its own, on dark pages, too.
#[test]
fn every_picture_can_be_read_on_a_page() {
    for (name, svg) in drawn() {
        is_readable(&name, &svg);
    }
}

/// Goal: the same whatever the names are, which may have signs that mean something in SVG.
#[test]
fn a_picture_has_room_for_long_names() {
    let axis = |scale| Axis {
        scale,
        least: 1.0,
        most: 100.0,
        marks: vec![(1.0, "1".into()), (10.0, "ten".into()), (100.0, "100".into())],
    };
    for length in [3, 20, 30, 40, 60] {
        let name = |number| format!("<{number} & {}>", "n".repeat(length));
        let curve = |number: u8| Curve {
            name: name(number),
            colour: RGBColor(number, 0, 0),
            dashes: (number % 2 == 0).then_some((6, 4)),
            width: 2,
            points: vec![(1.0, 1.0), (10.0, 50.0), (100.0, 100.0)],
            bars: vec![2.0, 60.0, 90.0],
        };
        let chart = Chart {
            title: "A title of many words ".repeat(1 + length / 8),
            note: "and a note ".repeat(1 + length / 4),
            along: "along".into(),
            x: axis(Scale::Logarithmic),
            y: axis(Scale::Linear),
            curves: (0..7).map(curve).collect(),
        };
        let svg = chart.draw();
        is_readable(&format!("{length}"), &svg);
        for number in 0..7 {
            assert!(texts(&svg).iter().any(|text| text.words == name(number)), "{svg}");
        }
    }
}
