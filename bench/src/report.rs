//! What a run found, as tables and as a plot.

use crate::Result;
use crate::measure::{Measure, NATIVE, ZONE};
use crate::memory::Memory;
use crate::{plot, side};
use serde_json::json;
use std::fmt::Write;
use std::path::Path;

/// All figures of a run.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) measures: Vec<Measure>,
    pub(crate) memory: Vec<Memory>,
}

impl Report {
    pub(crate) fn add(&mut self, measure: Measure) {
        let ratio = measure.ratio(ZONE).unwrap_or(f64::NAN);
        eprintln!("{}: {ratio:.2}", measure.name);
        self.measures.push(measure);
    }

    /// All sides but the native one, in the order of their columns.
    pub(crate) fn others(&self) -> Vec<&'static str> {
        let mut found = Vec::new();
        for figures in self.measures.iter().flat_map(|measure| &measure.sides) {
            if figures.side != NATIVE && !found.contains(&figures.side) {
                found.push(figures.side);
            }
        }
        found
    }

    /// Whether every figure of the native side and the zone's is there.
    pub(crate) fn is_whole(&self) -> bool {
        let mut all = self.measures.iter().flat_map(|measure| &measure.sides);
        all.all(|figures| figures.failure.is_none() || ![NATIVE, ZONE].contains(&figures.side))
    }

    /// Ratios of medians to native, each with half the distance of the quartiles.
    pub(crate) fn to_markdown(&self) -> String {
        let sides = self.others();
        let titles: String = sides.iter().map(|side| format!(" {side} |")).collect();
        let rule = "---|".repeat(sides.len() + 3);
        let mut text = format!("{}\n\n", machine());
        text += &format!("| what | native |{titles} goal |\n|{rule}\n");
        let mut notes = Vec::new();
        for measure in &self.measures {
            let native = measure.median(NATIVE).map_or_else(String::new, |median| {
                format!("{median:.0} {}", measure.unit.sign())
            });
            let mut cells = String::new();
            for side in &sides {
                let failure = measure
                    .sides
                    .iter()
                    .find(|figures| figures.side == *side)
                    .and_then(|figures| figures.failure.as_ref());
                if let Some(failure) = failure {
                    notes.push(format!("{}, {side}: {failure}", measure.name));
                }
                cells += &cell(measure, side, failure.map(|_| notes.len()));
            }
            let (goal, is_met) = measure.verdict();
            let word = match is_met {
                None => "",
                Some(true) => " kept",
                Some(false) => " MISSED",
            };
            let _ = writeln!(
                text,
                "| {} | {native} |{cells} {goal}{word} |",
                measure.name
            );
        }
        for (number, note) in notes.iter().enumerate() {
            let _ = writeln!(text, "\n[{}] {note}", number + 1);
        }
        text += "\n| memory | private | proportional |\n|---|---|---|\n";
        for row in &self.memory {
            let _ = writeln!(
                text,
                "| {} | {} KiB | {} KiB |",
                row.what, row.private, row.proportional
            );
        }
        text
    }

    /// A line for each side of each row.
    pub(crate) fn to_tsv(&self) -> String {
        let mut text =
            "what\tunit\tside\tmedian\tspread\tratio\tgoal\tfigures\tfailure\n".to_owned();
        let number = |value: Option<f64>| value.map_or_else(String::new, |v| format!("{v:.3}"));
        for measure in &self.measures {
            let (goal, _) = measure.verdict();
            for figures in &measure.sides {
                let side = figures.side;
                let all: Vec<String> = figures.all.iter().map(ToString::to_string).collect();
                let fields = [
                    measure.name.clone(),
                    measure.unit.sign().to_owned(),
                    side.to_owned(),
                    number(measure.median(side)),
                    number(measure.spread(side)),
                    number(measure.ratio(side)),
                    goal.clone(),
                    all.join(" "),
                    figures.failure.clone().unwrap_or_default(),
                ];
                text += &fields
                    .map(|field| field.replace(['\t', '\n'], " "))
                    .join("\t");
                text.push('\n');
            }
        }
        for row in &self.memory {
            let _ = writeln!(
                text,
                "memory of {}\tKiB\tprivate\t{}\t\t\t\t\t",
                row.what, row.private
            );
            let _ = writeln!(
                text,
                "memory of {}\tKiB\tproportional\t{}\t\t\t\t\t",
                row.what, row.proportional
            );
        }
        text
    }

    fn to_json(&self) -> String {
        let measures: Vec<_> = self
            .measures
            .iter()
            .map(|measure| {
                let figures = measure.sides.iter().map(|figures| {
                    let value = match &figures.failure {
                        None => json!(figures.all),
                        Some(failure) => json!({ "failure": failure, "figures": figures.all }),
                    };
                    (figures.side.to_owned(), value)
                });
                json!({
                    "name": measure.name,
                    "unit": measure.unit.sign(),
                    "figures": figures.collect::<serde_json::Map<_, _>>(),
                    "ratio": measure.ratio(ZONE),
                })
            })
            .collect();
        let memory: Vec<_> = self
            .memory
            .iter()
            .map(|row| {
                json!({
                    "what": row.what,
                    "private_kib": row.private,
                    "proportional_kib": row.proportional,
                })
            })
            .collect();
        let all = json!({ "machine": machine(), "measures": measures, "memory": memory });
        serde_json::to_string_pretty(&all).unwrap_or_default() + "\n"
    }

    /// Writes a run down: figures as JSON, tables as Markdown and TSV, and the plot.
    pub(crate) fn keep(&self, at: &Path) -> Result<()> {
        for (ending, text) in [
            ("json", self.to_json()),
            ("tsv", self.to_tsv()),
            ("md", self.to_markdown()),
            ("svg", plot::svg(self)),
        ] {
            std::fs::write(at.with_extension(ending), text)?;
        }
        Ok(())
    }
}

fn cell(measure: &Measure, side: &str, note: Option<usize>) -> String {
    if let Some(number) = note {
        return format!(" [{number}] |");
    }
    // What there is nothing to compare with natively is shown by itself.
    let Some(ratio) = measure.ratio(side) else {
        return measure.median(side).map_or_else(
            || " |".to_owned(),
            |median| format!(" {median:.0} {} |", measure.unit.sign()),
        );
    };
    let native = measure.median(NATIVE).unwrap_or(f64::NAN);
    let spread = measure.spread(side).unwrap_or(0.0) / native;
    if spread < 0.005 {
        format!(" {ratio:.2} |")
    } else {
        format!(" {ratio:.2} ±{spread:.2} |")
    }
}

/// What it was measured on.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let mut lines = cpu.lines();
    let model = lines.find_map(|line| line.strip_prefix("model name\t: "));
    let memory = read("/proc/meminfo");
    let memory = memory
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<u64>().ok());
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or("?");
    let user = if side::is_root() {
        "root"
    } else {
        "an ordinary user"
    };
    format!(
        "Linux {}, {}, {} processors, {} MiB of memory, load {load} at the end, as {user}; {}.",
        read("/proc/sys/kernel/osrelease").trim(),
        model.unwrap_or("unknown processor"),
        std::thread::available_parallelism().map_or(0, usize::from),
        memory.unwrap_or(0) / 1024,
        side::versions().join(", "),
    )
}
