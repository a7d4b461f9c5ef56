//! What was measured: values of several subjects beside one another, and what is made of them.

use serde_json::{Value, json};

/// What a value is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Nanoseconds; less is better.
    Time,
    /// Times per second; more is better.
    PerSecond,
    /// Bytes per second; more is better.
    BytesPerSecond,
    /// Bytes; less is better.
    Bytes,
    /// A number of events; less is better.
    Count,
}

impl Unit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Unit::Time => "ns",
            Unit::PerSecond => "per second",
            Unit::BytesPerSecond => "bytes per second",
            Unit::Bytes => "bytes",
            Unit::Count => "count",
        }
    }

    fn more_is_better(self) -> bool {
        matches!(self, Unit::PerSecond | Unit::BytesPerSecond)
    }
}

/// What a subject is beside the others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Floor,
    Own,
    Rival,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Floor => "floor",
            Kind::Own => "pares",
            Kind::Rival => "rival",
        }
    }
}

/// The values of one subject, or why there are none.
pub(crate) struct Series {
    who: String,
    kind: Kind,
    values: Result<Vec<f64>, String>,
}

impl Series {
    pub(crate) fn new(kind: Kind, who: &str, values: impl IntoIterator<Item = f64>) -> Self {
        Series { who: who.into(), kind, values: Ok(values.into_iter().collect()) }
    }

    pub(crate) fn times(kind: Kind, who: &str, nanoseconds: &[u64]) -> Self {
        Self::new(kind, who, nanoseconds.iter().map(|&value| value as f64))
    }

    pub(crate) fn skipped(kind: Kind, who: &str, why: &str) -> Self {
        Series { who: who.into(), kind, values: Err(why.into()) }
    }
}

/// One line of the table: the same thing done by several subjects.
pub(crate) struct Row {
    /// The name by which it is filtered and drawn.
    pub(crate) group: &'static str,
    pub(crate) what: String,
    /// How many processes, threads or instances, where there are several sizes.
    pub(crate) size: Option<u64>,
    pub(crate) unit: Unit,
    pub(crate) series: Vec<Series>,
}

impl Row {
    /// Median, the value that nine of ten are at least as good as, and the ratio of the medians to
    /// that of the floor.
    pub(crate) fn to_json(&self) -> Value {
        let floor = self.series.iter().find(|series| series.kind == Kind::Floor);
        let floor = floor
            .and_then(|series| series.values.as_ref().ok())
            .and_then(|values| self.quantile(values, 0.5));
        let one = |series: &Series| {
            let values = match &series.values {
                Ok(values) => values,
                Err(why) => {
                    return json!({"who": series.who, "kind": series.kind.name(), "skipped": why});
                }
            };
            let (median, p90) = (self.quantile(values, 0.5), self.quantile(values, 0.9));
            let ratio =
                median.zip(floor).and_then(|(median, floor)| (floor > 0.0).then(|| median / floor));
            json!({
                "who": series.who,
                "kind": series.kind.name(),
                "count": values.len(),
                "median": median,
                "p90": p90,
                "ratio": ratio.map(|ratio| (ratio * 1000.0).round() / 1000.0),
            })
        };
        json!({
            "group": self.group,
            "what": self.what,
            "size": self.size,
            "unit": self.unit.name(),
            "series": self.series.iter().map(one).collect::<Vec<_>>(),
        })
    }

    /// The value that this share of them is at least as good as.
    fn quantile(&self, values: &[f64], at: f64) -> Option<f64> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = if self.unit.more_is_better() { 1.0 - at } else { at };
        let at = (sorted.len().checked_sub(1)? as f64 * at).round() as usize;
        Some((sorted[at] * 10.0).round() / 10.0)
    }
}

/// One thing that is done so many times in one turn, and tells what each took in nanoseconds.
pub(crate) struct Subject<'a> {
    kind: Kind,
    who: &'a str,
    turn: Result<Box<dyn FnMut(u64) -> Vec<u64> + 'a>, String>,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(kind: Kind, who: &'a str, turn: impl FnMut(u64) -> Vec<u64> + 'a) -> Self {
        Subject { kind, who, turn: Ok(Box::new(turn)) }
    }

    pub(crate) fn skipped(who: &'a str, why: &str) -> Self {
        Subject { kind: Kind::Rival, who, turn: Err(why.into()) }
    }
}

/// All subjects in turns, A B C A B C …, after one turn of each that does not count.
pub(crate) fn in_turns(mut subjects: Vec<Subject<'_>>, turns: u64, of: u64) -> Vec<Series> {
    let mut took: Vec<Vec<u64>> = subjects.iter().map(|_| Vec::new()).collect();
    for turn in 0..=turns {
        for (subject, took) in subjects.iter_mut().zip(&mut took) {
            let Ok(deed) = &mut subject.turn else { continue };
            let values = deed(of);
            if turn > 0 {
                took.extend(values);
            }
        }
    }
    let series = |(subject, took): (Subject<'_>, Vec<u64>)| match subject.turn {
        Ok(_) => Series::times(subject.kind, subject.who, &took),
        Err(why) => Series::skipped(subject.kind, subject.who, &why),
    };
    subjects.into_iter().zip(took).map(series).collect()
}
