//! The two ways to the demo's API, and what a tool brings back from either.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DemoRoad {
    /// To the API itself, as if DNS and a public CA named it.
    Straight,
    /// As the session's environment says.
    Proxied,
}

/// What came back, or the tool's own complaint.
pub(super) type ToolAnswer = Result<(u16, String), String>;
