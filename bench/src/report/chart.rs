//! Draws charts: one bar for each system and case, as long as the median, with a line from the smallest to
//! the largest value.

use std::fmt::Write as _;

use super::RowReport;
use super::markdown::short;
use crate::figures::{Figures, Spread, spread};
use crate::system::Name;

const WIDTH: f64 = 760.0;
/// The left end of the bars; the names of cases are left of it.
const LEFT: f64 = 200.0;
/// Length of the longest bar; the figures are right of it.
const LONGEST: f64 = 420.0;
const BAR: f64 = 16.0;
const GAP: f64 = 12.0;
const TOP: f64 = 56.0;
/// The distance between two systems in the legend.
const LEGEND_STEP: f64 = 112.0;

/// How a system is drawn.
struct Look {
    system: &'static str,
    colour: &'static str,
}

const LOOKS: [Look; 5] = [
    Look { system: Name::Zookeeper.word(), colour: "#c9ccd1" },
    Look { system: Name::Etcd.word(), colour: "#8a8f98" },
    Look { system: Name::Batuta.word(), colour: "#1f6feb" },
    Look { system: Name::BatutaSecured.word(), colour: "#1b9e77" },
    Look { system: Name::Redis.word(), colour: "#d9a69f" },
];

struct Bar<'a> {
    look: &'a Look,
    spread: Spread,
}

/// The chart of a row, as a complete SVG document.
pub(super) fn row(report: &RowReport) -> String {
    let metric = report.row.chart;
    let cases: Vec<(&str, Vec<Bar<'_>>)> = report
        .cases
        .iter()
        .map(|case| {
            let bars = LOOKS.iter().filter_map(|look| {
                let runs: Vec<Figures> = case.runs.get(look.system)?.iter().flatten().cloned().collect();
                Some(Bar { look, spread: spread(&runs, metric)? })
            });
            (case.name.as_str(), bars.collect())
        })
        .collect();
    let most = cases.iter().flat_map(|(_, bars)| bars).map(|bar| bar.spread.max).fold(0.0, f64::max);
    let scale = if most > 0.0 { LONGEST / most } else { 0.0 };
    let mut body = String::new();
    let mut y = TOP;
    for (name, bars) in &cases {
        text(&mut body, (LEFT - 8.0, y + BAR), "end", name);
        for bar in bars {
            draw(&mut body, bar, y, scale);
            y += BAR + 2.0;
        }
        y += GAP;
    }
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH:.0}\" height=\"{y:.0}\" viewBox=\"0 0 {WIDTH:.0} {y:.0}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"{WIDTH:.0}\" height=\"{y:.0}\" fill=\"#ffffff\"/>\n"
    );
    let title = format!("{}: {}", report.row.title, metric.title);
    text(&mut svg, (8.0, 20.0), "start", &title);
    let drawn = |look: &&Look| report.cases.iter().any(|case| case.runs.contains_key(look.system));
    let mut x = LEFT;
    for look in LOOKS.iter().filter(drawn) {
        rectangle(&mut svg, (x, 32.0), (10.0, 10.0), look.colour);
        text(&mut svg, (x + 16.0, 41.0), "start", look.system);
        x += LEGEND_STEP;
    }
    svg + &body + "</svg>\n"
}

fn draw(svg: &mut String, bar: &Bar<'_>, y: f64, scale: f64) {
    let Spread { min, median, max } = bar.spread;
    rectangle(svg, (LEFT, y), (median * scale, BAR), bar.look.colour);
    let (from, to, middle) = (LEFT + min * scale, LEFT + max * scale, y + BAR / 2.0);
    // Writing to a String cannot fail.
    let _ = writeln!(
        svg,
        "<line x1=\"{from:.1}\" y1=\"{middle:.1}\" x2=\"{to:.1}\" y2=\"{middle:.1}\" stroke=\"#000000\" stroke-width=\"1.5\"/>"
    );
    text(svg, (to + 6.0, y + BAR - 4.0), "start", &short(median));
}

fn rectangle(svg: &mut String, (x, y): (f64, f64), (width, height): (f64, f64), colour: &str) {
    let _ = writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::ValueEnum as _;

    use super::*;
    use crate::report::tests::report;
    use crate::rows::ROWS;

    /// Checks that every opened element is closed, in order, and that no text breaks out of its element.
    fn assert_well_formed(svg: &str) {
        let mut open = Vec::new();
        for part in svg.split('<').skip(1) {
            let (tag, text) = part.split_once('>').expect("every tag ends");
            let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name), "{svg}");
            } else if !tag.ends_with('/') {
                open.push(name);
            }
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            assert!(!tag.contains("NaN") && !tag.contains("inf") && !text.contains('>'), "{tag}");
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn chart_is_well_formed_and_proportional() {
        let svg = row(&report());
        assert_well_formed(&svg);
        assert!(svg.contains("64 &lt;clients&gt;"), "{svg}");
        // The largest value ends where bars may end; Batuta's median is drawn in proportion.
        assert!(svg.contains("x2=\"620.0\""), "{svg}");
        assert!(svg.contains(&format!("width=\"{:.1}\"", 817.25 / 1234.5 * LONGEST)), "{svg}");
    }

    #[test]
    fn every_system_has_its_colour() {
        let colours: BTreeSet<&str> = LOOKS.iter().map(|look| look.colour).collect();
        assert_eq!((LOOKS.len(), colours.len()), (Name::value_variants().len(), LOOKS.len()));
        for name in Name::value_variants() {
            assert!(LOOKS.iter().any(|look| look.system == name.word()), "{name}");
        }
    }

    #[test]
    fn empty_chart_is_well_formed() {
        assert_well_formed(&row(&RowReport::new(&ROWS[4])));
    }
}
