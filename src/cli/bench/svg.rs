//! A line chart as SVG, by hand: axes, a few ticks, lines, a legend. The published benchmark draws
//! with it too.

use std::fmt::Write as _;

const SVG_WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
/// Told apart by those who don't see all colours, too (Okabe and Ito).
const SVG_COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#e69f00", "#56b4e9", "#999999"];

pub struct Line {
    /// As the legend says it.
    pub name: String,
    /// In the order of x; on logarithmic axes all above zero.
    pub points: Vec<(f64, f64)>,
    pub dashed: bool,
}

pub struct Chart {
    pub title: String,
    /// Under the x axis, with the unit.
    pub x: String,
    /// Beside the y axis, with the unit.
    pub y: String,
    /// Whether the x axis is logarithmic.
    pub log_x: bool,
    /// Whether the y axis is logarithmic; a linear one begins at zero.
    pub log_y: bool,
    pub lines: Vec<Line>,
}

/// From values to pixels.
struct Axis {
    low: f64,
    high: f64,
    log: bool,
    from: f64,
    to: f64,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64>, log: bool, from: f64, to: f64) -> Self {
        let (low, high) = values
            .filter(|v| v.is_finite() && (!log || *v > 0.0))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = if low <= high { (low, high) } else { (1.0, 10.0) };
        let (low, high) = match log {
            true => (10f64.powf(low.log10().floor()), 10f64.powf(high.log10().ceil())),
            false => (0.0, high),
        };
        let high = if high > low { high } else { low + 1.0 };
        Self { low, high, log, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let share = match self.log {
            true => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        self.from + share * (self.to - self.from)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.log {
            let decades = (self.high / self.low).log10().round().max(1.0) as i32;
            return (0..=decades).map(|n| self.low * 10f64.powi(n)).collect();
        }
        let rough = (self.high - self.low) / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|s| *s >= rough);
        let step = step.unwrap_or(rough);
        (0..=10).map(|n| self.low + step * f64::from(n)).filter(|v| *v <= self.high).collect()
    }
}

impl Chart {
    pub fn svg(&self) -> String {
        let all = || self.lines.iter().flat_map(|line| &line.points);
        let x = Axis::of(all().map(|p| p.0), self.log_x, LEFT, SVG_WIDTH - RIGHT);
        let y = Axis::of(all().map(|p| p.1), self.log_y, HEIGHT - BOTTOM, TOP);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {SVG_WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{SVG_WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
        );
        text(&mut out, (LEFT, 24.0), "start", &self.title);
        text(&mut out, ((LEFT + SVG_WIDTH - RIGHT) / 2.0, HEIGHT - 12.0), "middle", &self.x);
        text(&mut out, (8.0, TOP - 8.0), "start", &self.y);
        for tick in x.ticks() {
            let at = x.at(tick);
            rule(&mut out, (at, TOP), (at, HEIGHT - BOTTOM));
            text(&mut out, (at, HEIGHT - BOTTOM + 16.0), "middle", &number(tick));
        }
        for tick in y.ticks() {
            let at = y.at(tick);
            rule(&mut out, (LEFT, at), (SVG_WIDTH - RIGHT, at));
            text(&mut out, (LEFT - 6.0, at + 4.0), "end", &number(tick));
        }
        for (i, line) in self.lines.iter().enumerate() {
            let colour = SVG_COLOURS[i % SVG_COLOURS.len()];
            let dash = if line.dashed { " stroke-dasharray=\"6 4\"" } else { "" };
            let style = format!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}");
            let points: Vec<String> = (line.points.iter())
                .map(|(px, py)| format!("{:.1},{:.1}", x.at(*px), y.at(*py)))
                .collect();
            let _ = writeln!(out, "<polyline {style} points=\"{}\"/>", points.join(" "));
            let (left, top) = (SVG_WIDTH - RIGHT + 12.0, TOP + 18.0 * i as f64);
            let _ = writeln!(out, "<path {style} d=\"M{left} {top}h24\"/>");
            text(&mut out, (left + 30.0, top + 4.0), "start", &line.name);
        }
        out.push_str("</svg>\n");
        out
    }
}

fn rule(out: &mut String, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        out,
        "<path stroke=\"#ddd\" d=\"M{:.1} {:.1}L{:.1} {:.1}\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(out: &mut String, at: (f64, f64), anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{words}</text>",
        at.0, at.1
    );
}

fn number(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", v / 1e6),
        v if v >= 1e4 => format!("{}k", v / 1e3),
        v => format!("{}", (v * 1e3).round() / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>, log: bool) -> String {
        let lines = vec![Line { name: "a<b".into(), points, dashed: true }];
        let (x, y) = ("µs".into(), "%".into());
        Chart { title: "t & u".into(), x, y, log_x: log, log_y: false, lines }.svg()
    }

    #[test]
    fn draws_within_the_frame_and_escapes() {
        let drawn = chart(vec![(10.0, 0.0), (1000.0, 100.0)], true);
        assert!(drawn.contains("points=\"70.0,350.0 550.0,40.0\""), "{drawn}");
        assert!(drawn.contains("a&lt;b") && drawn.contains("t &amp; u"));
    }

    #[test]
    fn nothing_and_one_value_are_drawn_too() {
        for points in [vec![], vec![(5.0, 0.0)]] {
            for log in [true, false] {
                assert!(!chart(points.clone(), log).contains("NaN"));
            }
        }
    }
}
