//! The plot: a line for each row, a mark for each side, on a logarithmic axis of what an operation
//! takes compared with native.

use crate::measure::{Goal, Measure, NATIVE, Unit};
use crate::report::Report;
use std::fmt::Write;

const LEFT: f64 = 240.0;
const WIDTH: f64 = 480.0;
const ROW: f64 = 18.0;
const TOP: f64 = 60.0;
/// What the axis spans.
const LOWEST: f64 = 0.1;
const HIGHEST: f64 = 100.0;
const COLOURS: [&str; 8] = [
    "#0b62a4", "#7cb5ec", "#c23b22", "#e8a33d", "#4c9f50", "#8e5ea2", "#777777", "#b8860b",
];

/// How far to the right a ratio stands.
fn across(ratio: f64) -> f64 {
    let part = (ratio / LOWEST).ln() / (HIGHEST / LOWEST).ln();
    LEFT + WIDTH * part.clamp(0.0, 1.0)
}

/// What an operation takes compared with native: for rates, the inverse of their ratio.
fn cost(measure: &Measure, side: &str) -> Option<f64> {
    let ratio = measure.ratio(side)?;
    Some(match measure.unit {
        Unit::Nanoseconds => ratio,
        Unit::PerSecond => 1.0 / ratio,
    })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// The run as an image.
pub(crate) fn svg(report: &Report) -> String {
    let sides = report.others();
    let rows = report.measures.iter();
    let rows: Vec<&Measure> = rows.filter(|row| row.median(NATIVE).is_some()).collect();
    let height = TOP + ROW * (rows.len() as f64 + 1.0);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{0}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"8\" y=\"16\">What takes how many times as long as natively (less is better; a bar is the goal)</text>\n",
        LEFT + WIDTH + 20.0
    );
    for (number, side) in sides.iter().enumerate() {
        let x = 14.0 + 110.0 * number as f64;
        let colour = COLOURS[number % COLOURS.len()];
        let _ = writeln!(
            text,
            "<circle cx=\"{x}\" cy=\"30\" r=\"4\" fill=\"{colour}\"/><text x=\"{}\" y=\"34\">{}</text>",
            x + 8.0,
            escaped(side)
        );
    }
    for tick in [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0] {
        let (x, colour) = (across(tick), if tick == 1.0 { "#333" } else { "#ddd" });
        let _ = writeln!(
            text,
            "<line x1=\"{x:.1}\" y1=\"{}\" x2=\"{x:.1}\" y2=\"{height}\" stroke=\"{colour}\"/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{tick}</text>",
            TOP - 8.0,
            TOP - 12.0
        );
    }
    for (number, measure) in rows.into_iter().enumerate() {
        let y = TOP + ROW * (number as f64 + 0.5);
        let _ = writeln!(
            text,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            y + 4.0,
            escaped(&measure.name)
        );
        if let Goal::Ratio(goal) = measure.goal {
            let goal = if measure.unit == Unit::PerSecond {
                1.0 / goal
            } else {
                goal
            };
            let x = across(goal) - 1.0;
            let _ = writeln!(
                text,
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"2\" height=\"12\" fill=\"#333\"/>",
                y - 6.0
            );
        }
        // The zone's mark lies over the others'.
        for (number, side) in sides.iter().enumerate().rev() {
            if let Some(cost) = cost(measure, side) {
                let _ = writeln!(
                    text,
                    "<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{}\"><title>{}: {cost:.2}</title></circle>",
                    across(cost),
                    COLOURS[number % COLOURS.len()],
                    escaped(side)
                );
            }
        }
    }
    text + "</svg>\n"
}
