//! The tables, the JSON document and the pictures.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::commands::Commands;
use super::peers::Kind;
use super::scenarios::{Figures, Scenario};
use super::svg::{Chart, Line};

/// Whether everything shares one CPU, and what the API speaks: proxies may carry the requests of many HTTP/1.1
/// connections on one of HTTP/2, which is other work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    OneCpu,
    Free,
    Http2,
}

impl Mode {
    pub fn title(self) -> &'static str {
        match self {
            Self::OneCpu => "one CPU for client, proxy and API",
            Self::Free => "all CPUs",
            Self::Http2 => "all CPUs, an API of HTTP/2",
        }
    }
}

/// One row in one table.
pub struct Cell {
    pub mode: Mode,
    pub scenario: Scenario,
    pub kind: Kind,
    pub rounds: Vec<Figures>,
    pub latencies: Vec<Duration>,
    /// Why there is nothing, or no more.
    pub problem: Option<String>,
}

/// A row as such.
pub struct Row {
    pub mode: Mode,
    pub kind: Kind,
    pub started: Option<Duration>,
    pub idle_kib: Option<u64>,
}

/// Everything that was measured.
#[derive(Default)]
pub struct Results {
    pub machine: String,
    pub options: String,
    pub cells: Vec<Cell>,
    pub rows: Vec<Row>,
    /// User instructions for each small request.
    pub instructions: BTreeMap<&'static str, Result<u64, String>>,
    pub commands: Commands,
}

impl Cell {
    fn medians(&self) -> Figures {
        let names: BTreeSet<_> =
            self.rounds.iter().flat_map(|round| round.keys().copied()).collect();
        names
            .into_iter()
            .filter_map(|name| {
                let values = self.rounds.iter().filter_map(|round| round.get(name).copied());
                Some((name, median(values.collect())?))
            })
            .collect()
    }
}

pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

impl Results {
    fn find(&self, mode: Mode, scenario: Scenario, kind: Kind) -> Option<Figures> {
        let wanted = |cell: &&Cell| (cell.mode, cell.scenario, cell.kind) == (mode, scenario, kind);
        self.cells.iter().find(wanted).map(Cell::medians)
    }

    /// All tables.
    pub fn markdown(&self) -> String {
        let mut out = format!("{}\n{}\n", self.machine, self.options);
        for mode in [Mode::OneCpu, Mode::Free, Mode::Http2] {
            let mut seen = Vec::new();
            for cell in self.cells.iter().filter(|cell| cell.mode == mode) {
                if !seen.contains(&cell.scenario) {
                    seen.push(cell.scenario);
                    self.table(mode, cell.scenario, &mut out);
                }
            }
        }
        self.table_of_rows(&mut out);
        if !self.commands.is_empty() {
            out.push_str("\n| command | ms |\n|---|---|\n");
            for (name, ms) in &self.commands {
                let ms = ms.as_ref().map_or_else(|why| in_cell(why), |ms| format!("{ms:.1}"));
                let _ = writeln!(out, "| {name} | {ms} |");
            }
        }
        out
    }

    fn table(&self, mode: Mode, scenario: Scenario, out: &mut String) {
        let cells: Vec<_> =
            self.cells.iter().filter(|c| c.mode == mode && c.scenario == scenario).collect();
        let names: BTreeSet<_> = cells
            .iter()
            .flat_map(|cell| cell.rounds.iter().flat_map(|r| r.keys().copied()))
            .collect();
        let direct = self.find(mode, scenario, Kind::Direct).unwrap_or_default();
        let sequential = scenario == Scenario::Kept { connections: 1, size: 200 };
        let _ = write!(out, "\n| {}; {} |", scenario.title(), mode.title());
        let mut columns = 1;
        for name in &names {
            let _ = write!(out, " {name} |");
            columns += 1;
        }
        if names.is_empty() {
            // Else a reader of Markdown leaves out why there are none.
            out.push_str(" – |");
            columns += 1;
        }
        if names.contains("p50 µs") {
            out.push_str(" added p50 µs | of direct's rate |");
            columns += 2;
        }
        if sequential {
            out.push_str(" user instructions |");
            columns += 1;
        }
        let _ = writeln!(out, "\n{}|", "|---".repeat(columns));
        for cell in cells {
            let medians = cell.medians();
            let problem = cell.problem.as_deref().map(in_cell);
            if medians.is_empty() {
                let why = problem.as_deref().unwrap_or("nothing");
                let _ = writeln!(out, "| {} | {why} |", cell.kind.title());
                continue;
            }
            let problem = problem.map(|why| format!(" ({why})")).unwrap_or_default();
            let _ = write!(out, "| {}{problem} |", cell.kind.title());
            for name in &names {
                let _ = write!(
                    out,
                    " {} |",
                    medians.get(name).map_or_else(|| "–".into(), |v| short(*v))
                );
            }
            if names.contains("p50 µs") {
                let added = direct.get("p50 µs").map(|p50| short(medians["p50 µs"] - p50));
                let rate = direct.get("per second");
                let share = rate.map(|rate| format!("{:.2}", medians["per second"] / rate));
                let none = || "–".to_owned();
                let (added, share) = (added.unwrap_or_else(none), share.unwrap_or_else(none));
                let _ = write!(out, " {added} | {share} |");
            }
            if sequential {
                let counted = self.instructions.get(cell.kind.name());
                let text = counted.map(|c| c.as_ref().map_or_else(|e| in_cell(e), u64::to_string));
                let _ = write!(out, " {} |", text.unwrap_or_else(|| "–".to_owned()));
            }
            out.push('\n');
        }
    }

    fn table_of_rows(&self, out: &mut String) {
        out.push_str("\n| process | start ms | idle MiB |\n|---|---|---|\n");
        for row in self.rows.iter().filter(|row| row.mode == Mode::Free) {
            let started = row.started.map_or_else(|| "–".into(), |t| short(t.as_secs_f64() * 1e3));
            let idle = row
                .idle_kib
                .map_or_else(|| "–".into(), |kib| format!("{:.1}", kib as f64 / 1024.0));
            let _ = writeln!(out, "| {} | {started} | {idle} |", row.kind.title());
        }
    }

    /// Everything, for machines; round by round.
    pub fn json(&self) -> Value {
        let cell = |cell: &Cell| {
            json!({
                "mode": format!("{:?}", cell.mode), "scenario": cell.scenario.title(), "row": cell.kind.name(),
                "median": cell.medians(), "rounds": cell.rounds, "problem": cell.problem,
            })
        };
        let row = |row: &Row| {
            json!({
                "mode": format!("{:?}", row.mode), "row": row.kind.name(),
                "start_ms": row.started.map(|t| t.as_secs_f64() * 1e3), "idle_kib": row.idle_kib,
            })
        };
        json!({
            "machine": self.machine, "options": self.options,
            "cells": self.cells.iter().map(cell).collect::<Vec<_>>(),
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
            "instructions": self.instructions.iter().map(|(k, v)| (*k, v.clone().map_err(Value::from).map_or_else(|e| e, Value::from))).collect::<BTreeMap<_, _>>(),
            "commands_ms": self.commands.iter().map(|(k, v)| (*k, v.clone().map_err(Value::from).map_or_else(|e| e, Value::from))).collect::<BTreeMap<_, _>>(),
        })
    }

    /// The three pictures, into a folder.
    pub fn draw(&self, folder: &Path) -> std::io::Result<()> {
        let one = Scenario::Kept { connections: 1, size: 200 };
        let mode = if self.cells.iter().any(|c| c.mode == Mode::OneCpu) {
            Mode::OneCpu
        } else {
            Mode::Free
        };
        let distribution = self
            .cells
            .iter()
            .filter(|c| c.mode == mode && c.scenario == one && !c.latencies.is_empty());
        let lines = distribution.map(|cell| {
            let mut sorted: Vec<f64> =
                cell.latencies.iter().map(|l| l.as_secs_f64() * 1e6).collect();
            sorted.sort_by(f64::total_cmp);
            let point = |n: usize| (sorted[(sorted.len() - 1) * n / 500], n as f64 / 5.0);
            line(cell.kind, (0..=500).map(point).collect())
        });
        let lines = lines.collect();
        save(
            folder,
            "latency.svg",
            "latency, one small request at a time",
            ("µs", "% of requests"),
            (true, false),
            lines,
        )?;

        let lines = self.lines(|cell| match cell.scenario {
            Scenario::Kept { connections, size: 200 } if cell.mode == Mode::Free => {
                Some((connections as f64, *cell.medians().get("per second")?))
            }
            _ => None,
        });
        save(
            folder,
            "throughput.svg",
            "requests a second by concurrency",
            ("connections", "per second"),
            (true, false),
            lines,
        )?;

        let lines = self.lines(|cell| match cell.scenario {
            Scenario::Kept { connections: 1, size } if cell.mode == mode => {
                let direct = self.find(mode, cell.scenario, Kind::Direct)?;
                let added = cell.medians().get("p50 µs")? - direct.get("p50 µs")?;
                (cell.kind != Kind::Direct).then_some((size as f64, added.max(0.1)))
            }
            _ => None,
        });
        save(
            folder,
            "bodies.svg",
            "added latency by size of the answer",
            ("bytes", "added p50, µs"),
            (true, true),
            lines,
        )
    }

    fn lines(&self, point: impl Fn(&Cell) -> Option<(f64, f64)>) -> Vec<Line> {
        super::peers::ALL
            .into_iter()
            .map(|kind| {
                let mut points: Vec<_> =
                    self.cells.iter().filter(|cell| cell.kind == kind).filter_map(&point).collect();
                points.sort_by(|a, b| a.0.total_cmp(&b.0));
                line(kind, points)
            })
            .filter(|line| !line.points.is_empty())
            .collect()
    }
}

fn line(kind: Kind, points: Vec<(f64, f64)>) -> Line {
    Line { name: kind.name().to_owned(), points, dashed: !kind.intercepts() }
}

fn save(
    folder: &Path,
    file: &str,
    title: &str,
    (x, y): (&str, &str),
    (log_x, log_y): (bool, bool),
    lines: Vec<Line>,
) -> std::io::Result<()> {
    let (title, x, y) = (title.to_owned(), x.to_owned(), y.to_owned());
    std::fs::write(folder.join(file), Chart { title, x, y, log_x, log_y, lines }.svg())
}

/// A problem in a table: on one line, without what ends a cell.
fn in_cell(why: &str) -> String {
    why.replace('|', "/").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn short(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}
