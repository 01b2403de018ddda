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

/// One thing, measured natively and in a zone in turns.
pub(crate) struct Measure {
    name: String,
    unit: Unit,
    promise: Option<f64>,
    pub(crate) native: Vec<f64>,
    pub(crate) zone: Vec<f64>,
}

impl Measure {
    /// `promise`: the ratio that is not to be exceeded (times) or missed (rates).
    pub(crate) fn new(name: &str, unit: Unit, promise: Option<f64>) -> Measure {
        Measure {
            name: name.to_owned(),
            unit,
            promise,
            native: Vec::new(),
            zone: Vec::new(),
        }
    }

    fn ratio(&self) -> f64 {
        median(&self.zone) / median(&self.native)
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
        println!("| what | native | zone | ratio | promise |\n|---|---|---|---|---|");
        for measure in &self.measures {
            let unit = match measure.unit {
                Unit::Nanoseconds => "ns",
                Unit::PerSecond => "/s",
            };
            println!(
                "| {} | {:.0} {unit} | {:.0} {unit} | {:.2} | {} |",
                measure.name,
                median(&measure.native),
                median(&measure.zone),
                measure.ratio(),
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
                    "native": measure.native,
                    "zone": measure.zone,
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
