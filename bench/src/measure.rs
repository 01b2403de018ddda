//! One thing measured on several sides.

use crate::Result;

/// What a figure counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Nanoseconds of one operation: less is better.
    Nanoseconds,
    /// Operations in a second: more is better.
    PerSecond,
}

impl Unit {
    /// As it is shown.
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Unit::Nanoseconds => "ns",
            Unit::PerSecond => "/s",
        }
    }
}

/// What the project aims at.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    None,
    /// The zone's figure divided by the native one: not above it for times, not below it for rates.
    Ratio(f64),
    /// The zone's own figure, in milliseconds.
    Milliseconds(f64),
}

/// The side that all others are compared with.
pub(crate) const NATIVE: &str = "native";
/// The side that goals are about.
pub(crate) const ZONE: &str = "zone";

/// The kernel's own share: natively, under the least of a zone's walls. No zone can be below that.
pub(crate) const FLOOR: &str = "the walls alone";

/// What a side gave.
pub(crate) struct Figures {
    pub(crate) side: &'static str,
    pub(crate) all: Vec<f64>,
    /// Why there are no more.
    pub(crate) failure: Option<String>,
}

/// One thing, measured natively and elsewhere in turns.
pub(crate) struct Measure {
    pub(crate) name: String,
    pub(crate) unit: Unit,
    pub(crate) goal: Goal,
    /// In the order in which they were measured.
    pub(crate) sides: Vec<Figures>,
}

impl Measure {
    pub(crate) fn new(name: &str, unit: Unit, goal: Goal) -> Measure {
        Measure {
            name: name.to_owned(),
            unit,
            goal,
            sides: Vec::new(),
        }
    }

    fn of(&mut self, side: &'static str) -> &mut Figures {
        let found = self.sides.iter().position(|figures| figures.side == side);
        let at = found.unwrap_or_else(|| {
            self.sides.push(Figures {
                side,
                all: Vec::new(),
                failure: None,
            });
            self.sides.len() - 1
        });
        &mut self.sides[at]
    }

    /// Takes a figure of a side, unless it has failed before. A side that fails has an empty cell and
    /// a reason, and the others go on.
    pub(crate) fn take(&mut self, side: &'static str, figure: impl FnOnce() -> Result<f64>) {
        let name = self.name.clone();
        let figures = self.of(side);
        if figures.failure.is_some() {
            return;
        }
        match figure() {
            Ok(figure) => figures.all.push(figure),
            Err(error) => {
                eprintln!("{name}, {side}: {error}");
                figures.failure = Some(error.to_string());
            }
        }
    }

    /// Runs what a side needs first; if that fails, the side has.
    pub(crate) fn prepare(&mut self, side: &'static str, run: impl FnOnce() -> Result<()>) {
        if let Err(error) = run() {
            self.take(side, || Err(error));
        }
    }

    fn figures(&self, side: &str) -> Option<&Figures> {
        let found = self.sides.iter().find(|figures| figures.side == side)?;
        (found.failure.is_none() && !found.all.is_empty()).then_some(found)
    }

    /// The quartile of that number of a side's figures: the second is the median.
    fn quartile(&self, side: &str, number: usize) -> Option<f64> {
        let mut sorted = self.figures(side)?.all.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |place: usize| sorted.get(place.min(sorted.len() - 1)).copied();
        let (place, part) = (
            (sorted.len() - 1) * number / 4,
            (sorted.len() - 1) * number % 4,
        );
        let (low, high) = (at(place)?, at(place + 1)?);
        Some(low + (high - low) * [0.0, 0.25, 0.5, 0.75][part])
    }

    pub(crate) fn median(&self, side: &str) -> Option<f64> {
        self.quartile(side, 2)
    }

    /// Half the distance of the quartiles.
    pub(crate) fn spread(&self, side: &str) -> Option<f64> {
        Some((self.quartile(side, 3)? - self.quartile(side, 1)?) / 2.0)
    }

    /// Of a side's median to the native one.
    pub(crate) fn ratio(&self, side: &str) -> Option<f64> {
        Some(self.median(side)? / self.median(NATIVE)?)
    }

    /// The goal as text, and whether it is met.
    pub(crate) fn verdict(&self) -> (String, Option<bool>) {
        let at_most = |found: Option<f64>, most: f64| found.map(|found| found <= most);
        match (self.goal, self.unit) {
            (Goal::None, _) => (String::new(), None),
            (Goal::Ratio(goal), Unit::Nanoseconds) => {
                (format!("<= {goal}"), at_most(self.ratio(ZONE), goal))
            }
            (Goal::Ratio(goal), Unit::PerSecond) => (
                format!(">= {goal}"),
                self.ratio(ZONE).map(|found| found >= goal),
            ),
            (Goal::Milliseconds(goal), _) => (
                format!("<= {goal} ms"),
                at_most(self.median(ZONE), goal * 1e6),
            ),
        }
    }
}
