//! Curves as SVG, for both benches: on a white ground, so that they can be read on dark pages, too,
//! and as wide as pages show them. What the curves are is said below, where long names have room.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// In pixels, as everything here.
pub(crate) const WIDTH: u32 = 700;
const EDGE: u32 = 16;
const FIELD: u32 = 330;
/// Size and height of a line; plotters shows a size as four fifths of it.
const TITLE: (u32, u32) = (20, 27);
const TEXT: (u32, u32) = (16, 22);
/// What the numbers of the axes take.
const LEFT: u32 = 72;
const BELOW: u32 = 50;
/// The line in front of a curve's name.
const SAMPLE: u32 = 34;
const INK: RGBColor = RGBColor(34, 34, 34);
const FAINT: RGBColor = RGBColor(228, 228, 228);

pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) note: String,
    /// What is along the axis.
    pub(crate) along: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) curves: Vec<Curve>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    Linear,
    Logarithmic,
}

#[derive(Clone)]
pub(crate) struct Axis {
    pub(crate) scale: Scale,
    pub(crate) least: f64,
    pub(crate) most: f64,
    /// The numbers that are written, in order.
    pub(crate) marks: Vec<(f64, String)>,
}

pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) colour: RGBColor,
    /// Length of the dashes and of the gaps between them; none for a line.
    pub(crate) dashes: Option<(u32, u32)>,
    pub(crate) width: u32,
    pub(crate) points: Vec<(f64, f64)>,
    /// From each point to so high, if that is to be drawn, and the point itself.
    pub(crate) bars: Vec<f64>,
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let place = |value: f64| if self.scale == Scale::Linear { value } else { value.ln() };
        let [least, most, value] = [self.least, self.most, *value].map(place);
        from + (f64::from(to - from) * (value - least) / (most - least)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.marks.iter().map(|(value, _)| *value).collect()
    }

    fn range(&self) -> Range<f64> {
        self.least..self.most
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        let mark = self.marks.iter().find(|(mark, _)| mark == value);
        mark.map(|(_, text)| text.clone()).unwrap_or_default()
    }
}

/// How wide a text is at most, in a font that nobody knows before it is shown.
pub(crate) fn width_of(text: &str, size: u32) -> u32 {
    (text.chars().count() as f64 * f64::from(size) * 0.5).ceil() as u32
}

/// The text in lines that have room.
fn lines(text: &str, size: u32) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width_of(&format!("{line} {word}"), size) <= WIDTH - 2 * EDGE => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

impl Chart {
    pub(crate) fn draw(&self) -> String {
        let (titles, notes) = (lines(&self.title, TITLE.0), lines(&self.note, TEXT.0));
        let head = EDGE + titles.len() as u32 * TITLE.1 + notes.len() as u32 * TEXT.1 + 8;
        let room = (WIDTH - 2 * EDGE) / 2 - SAMPLE - 8;
        let two = self.curves.iter().all(|curve| width_of(&curve.name, TEXT.0) <= room);
        let columns = if two { 2 } else { 1 };
        let rows = self.curves.len().div_ceil(columns);
        let legend = head + FIELD + BELOW + 8;
        let height = legend + rows as u32 * TEXT.1 + EDGE;

        let mut svg = String::new();
        let picture = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        self.draw_on(&picture, [titles, notes], head, legend, columns)
            .expect("there is memory for a picture");
        picture.present().expect("there is memory for a picture");
        drop(picture);
        // Read out where pictures are not seen; plotters has no way to say it.
        let (root, rest) = svg.split_once(">\n").expect("an element");
        format!("{root}>\n<title>{}</title>\n{rest}", escape(&self.title))
    }

    fn draw_on<B: DrawingBackend>(
        &self,
        picture: &DrawingArea<B, Shift>,
        [titles, notes]: [Vec<String>; 2],
        head: u32,
        legend: u32,
        columns: usize,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        picture.fill(&WHITE)?;
        let text = |size: (u32, u32)| TextStyle::from(("sans-serif", size.0).into_font());
        let mut at = EDGE as i32;
        for line in titles {
            let style = text(TITLE).color(&INK);
            picture.draw_text(&line, &style, (EDGE as i32, at))?;
            at += TITLE.1 as i32;
        }
        for line in notes {
            picture.draw_text(
                &line,
                &text(TEXT).color(&RGBColor(90, 90, 90)),
                (EDGE as i32, at),
            )?;
            at += TEXT.1 as i32;
        }

        let (top, bottom) = (head as i32, (head + FIELD + BELOW) as i32);
        let field = picture.clone().shrink((0, top), (WIDTH - EDGE - 8, (bottom - top) as u32));
        let mut axes = ChartBuilder::on(&field)
            .set_label_area_size(LabelAreaPosition::Left, LEFT)
            .set_label_area_size(LabelAreaPosition::Bottom, BELOW)
            .build_cartesian_2d(self.x.clone(), self.y.clone())?;
        axes.configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(FAINT)
            .axis_style(RGBColor(136, 136, 136))
            .label_style(text(TEXT).color(&INK))
            .x_desc(&self.along)
            .axis_desc_style(text(TEXT).color(&INK))
            .draw()?;
        for curve in &self.curves {
            let style = curve.colour.stroke_width(curve.width);
            match curve.dashes {
                None => _ = axes.draw_series(LineSeries::new(curve.points.clone(), style))?,
                Some((dash, gap)) => {
                    let line = DashedLineSeries::new(curve.points.clone(), dash, gap, style);
                    axes.draw_series(line)?;
                }
            }
            for (&(x, y), &to) in curve.points.iter().zip(&curve.bars) {
                let thin = curve.colour.mix(0.7).stroke_width(1);
                axes.draw_series([PathElement::new([(x, y), (x, to)], thin)])?;
                axes.draw_series([
                    EmptyElement::at((x, to)) + PathElement::new([(-4, 0), (4, 0)], thin)
                ])?;
                axes.draw_series([Circle::new((x, y), 3, curve.colour.filled())])?;
            }
        }
        let rows = self.curves.len().div_ceil(columns);
        for (number, curve) in self.curves.iter().enumerate() {
            let x = (EDGE + (WIDTH - 2 * EDGE) / 2 * (number / rows) as u32) as i32;
            let y = (legend + TEXT.1 * (number % rows) as u32 + TEXT.1 / 2) as i32;
            let style = curve.colour.stroke_width(curve.width.max(2));
            let (from, to) = (x, x + SAMPLE as i32 - 8);
            let (dash, gap) = curve.dashes.unwrap_or((to.abs_diff(from), 0));
            for start in (from..to).step_by((dash + gap) as usize) {
                let end = (start + dash as i32).min(to);
                picture.draw(&PathElement::new([(start, y), (end, y)], style))?;
            }
            let style = text(TEXT).color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
            picture.draw_text(&curve.name, &style, (x + SAMPLE as i32, y))?;
        }
        Ok(())
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
