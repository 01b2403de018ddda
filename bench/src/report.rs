//! Figures, their medians and ratios.

use serde_json::json;

/// What a figure counts.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    /// Nanoseconds of one operation: less is better.
    Nanoseconds,
    /// Operations in a second: more is better.
    PerSecond,
}

/// The side that all others are compared with.
pub(crate) const NATIVE: &str = "native";
/// The side that promises are about.
pub(crate) const ZONE: &str = "zone";

/// One thing, measured natively and elsewhere in turns.
pub(crate) struct Measure {
    name: String,
    unit: Unit,
    promise: Option<f64>,
    /// By side, in the order in which they were measured.
    figures: Vec<(&'static str, Vec<f64>)>,
}

impl Measure {
    /// `promise`: the ratio that is not to be exceeded (times) or missed (rates).
    pub(crate) fn new(name: &str, unit: Unit, promise: Option<f64>) -> Measure {
        Measure {
            name: name.to_owned(),
            unit,
            promise,
            figures: Vec::new(),
        }
    }

    /// Adds a figure of a side.
    pub(crate) fn push(&mut self, side: &'static str, figure: f64) {
        match self.figures.iter_mut().find(|(name, _)| *name == side) {
            Some((_, figures)) => figures.push(figure),
            None => self.figures.push((side, vec![figure])),
        }
    }

    fn median(&self, side: &str) -> Option<f64> {
        let mut sides = self.figures.iter();
        let (_, figures) = sides.find(|(name, _)| *name == side)?;
        Some(median(figures))
    }

    fn ratio_of(&self, side: &str) -> Option<f64> {
        Some(self.median(side)? / self.median(NATIVE)?)
    }

    fn ratio(&self) -> f64 {
        self.ratio_of(ZONE).unwrap_or(f64::NAN)
    }

    fn verdict(&self) -> String {
        let (Some(promise), unit) = (self.promise, self.unit) else {
            return String::new();
        };
        let (is_kept, sign) = match unit {
            Unit::Nanoseconds => (self.ratio() <= promise, "<="),
            Unit::PerSecond => (self.ratio() >= promise, ">="),
        };
        let word = if is_kept { "kept" } else { "MISSED" };
        format!("{sign} {promise} {word}")
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// All figures of a run.
#[derive(Default)]
pub(crate) struct Report {
    measures: Vec<Measure>,
    /// Private memory of an idle zone: process, KiB.
    pub(crate) memory: Vec<(&'static str, u64)>,
}

impl Report {
    pub(crate) fn add(&mut self, measure: Measure) {
        eprintln!("{}: {:.2}", measure.name, measure.ratio());
        self.measures.push(measure);
    }

    pub(crate) fn print(&self) {
        let mut sides: Vec<&str> = Vec::new();
        for (side, _) in self.measures.iter().flat_map(|measure| &measure.figures) {
            if *side != NATIVE && !sides.contains(side) {
                sides.push(side);
            }
        }
        let titles: String = sides.iter().map(|side| format!(" {side} |")).collect();
        let rule = "---|".repeat(sides.len() + 3);
        println!("| what | native |{titles} promise |\n|{rule}");
        for measure in &self.measures {
            let unit = match measure.unit {
                Unit::Nanoseconds => "ns",
                Unit::PerSecond => "/s",
            };
            let ratios: String = sides
                .iter()
                .map(|side| match measure.ratio_of(side) {
                    Some(ratio) => format!(" {ratio:.2} |"),
                    None => " |".to_owned(),
                })
                .collect();
            println!(
                "| {} | {:.0} {unit} |{ratios} {} |",
                measure.name,
                measure.median(NATIVE).unwrap_or(f64::NAN),
                measure.verdict()
            );
        }
        let total: u64 = self.memory.iter().map(|(_, size)| size).sum();
        let parts: Vec<String> = self
            .memory
            .iter()
            .map(|(name, size)| format!("{name} {size} KiB"))
            .collect();
        println!(
            "\nprivate memory of an idle zone: {} = {total} KiB",
            parts.join(" + ")
        );
    }

    pub(crate) fn to_json(&self) -> String {
        let measures: Vec<_> = self
            .measures
            .iter()
            .map(|measure| {
                json!({
                    "name": measure.name,
                    "unit": match measure.unit { Unit::Nanoseconds => "ns", Unit::PerSecond => "1/s" },
                    "figures": measure.figures.iter().map(|(side, figures)| ((*side).to_owned(), json!(figures))).collect::<serde_json::Map<_, _>>(),
                    "ratio": measure.ratio(),
                })
            })
            .collect();
        let memory: serde_json::Map<_, _> = self
            .memory
            .iter()
            .map(|(name, size)| (format!("{name}_private_kib"), json!(size)))
            .collect();
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let model = cpu
            .lines()
            .find_map(|line| line.strip_prefix("model name\t: "));
        let machine = json!({
            "kernel": read("/proc/sys/kernel/osrelease").trim(),
            "cpu": model,
            "cores": std::thread::available_parallelism().map_or(0, usize::from),
        });
        let all = json!({ "machine": machine, "measures": measures, "memory": memory });
        serde_json::to_string_pretty(&all).unwrap_or_default() + "\n"
    }
}
