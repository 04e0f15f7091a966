//! What the demo tells: steps with their facts, for people as they happen or as JSON at the end.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::failure::Failure;
use crate::cli::{printer, terminal};

/// Columns before each line of a step.
pub(super) const INDENT: usize = 3;
/// Columns of a label.
const LABEL: usize = 13;
/// Before the rest of a line without a label.
const STORY_CONTINUED: &str = "  ";

/// One step: what was done, what came of it, and whether that is what was to come.
#[derive(Debug, Serialize)]
pub(super) struct DemoStep {
    step: &'static str,
    title: &'static str,
    ok: bool,
    facts: Map<String, Value>,
    /// What was expected and didn't come.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<&'static str>,
    #[serde(skip)]
    lines: Vec<String>,
}

impl DemoStep {
    /// A step that is well until an expectation fails.
    pub(super) fn new(step: &'static str, title: &'static str) -> Self {
        let (facts, missing, lines) = (Map::new(), Vec::new(), Vec::new());
        Self { step, title, ok: true, facts, missing, lines }
    }

    /// A line for people, or several where the terminal is narrow.
    pub(super) fn line(&mut self, label: &str, text: impl AsRef<str>) {
        let room = terminal::width() - INDENT;
        let text = text.as_ref();
        if text.is_empty() {
            let mut lines = terminal::wrap(label, room - STORY_CONTINUED.len()).into_iter();
            self.ready(&lines.next().unwrap_or_default());
            lines.for_each(|line| self.ready(&format!("{STORY_CONTINUED}{line}")));
            return;
        }
        let mut label = label;
        for line in text.lines().flat_map(|line| terminal::wrap(line, room - LABEL)) {
            self.ready(format!("{label:<LABEL$}{line}").trim_end());
            label = "";
        }
    }

    pub(super) fn ready(&mut self, line: &str) {
        self.lines.push(format!("{:INDENT$}{line}", ""));
    }

    pub(super) fn fact(&mut self, name: &str, value: impl Into<Value>) {
        self.facts.insert(name.to_owned(), value.into());
    }

    /// What has to be true for the step to be told as it is.
    pub(super) fn expect(&mut self, is_so: bool, what: &'static str) {
        if !is_so {
            self.ok = false;
            self.missing.push(what);
        }
    }
}

pub(super) struct Story {
    json: bool,
    steps: Vec<DemoStep>,
}

impl Story {
    /// Told as it happens, or kept for [`Self::json`].
    pub(super) fn new(json: bool) -> Self {
        Self { json, steps: Vec::new() }
    }

    /// Lines before and between the steps, for people only.
    pub(super) fn say(&self, text: &str) -> Result<(), Failure> {
        if self.json { Ok(()) } else { printer::line(text) }
    }

    /// Takes a step in, and tells it.
    pub(super) fn tell(&mut self, step: DemoStep) -> Result<(), Failure> {
        if !self.json {
            let number = self.steps.len() + 1;
            let title = format!("{number}. {}", step.title);
            let mut text = format!("\n{}", terminal::paint(terminal::HEAD, &title));
            for line in &step.lines {
                text.push('\n');
                text.push_str(line);
            }
            for missing in &step.missing {
                let mark = terminal::paint(terminal::BAD, "NOT AS TOLD");
                text.push_str(&format!("\n   {mark}  expected: {missing}"));
            }
            printer::line(text)?;
        }
        self.steps.push(step);
        Ok(())
    }

    /// Whether every step was as told.
    pub(super) fn is_well(&self) -> bool {
        self.steps.iter().all(|step| step.ok)
    }

    /// How many were, and how many there are.
    pub(super) fn tally(&self) -> (usize, usize) {
        (self.steps.iter().filter(|step| step.ok).count(), self.steps.len())
    }

    /// The steps, for the JSON document.
    pub(super) fn steps(&self) -> &[DemoStep] {
        &self.steps
    }
}
