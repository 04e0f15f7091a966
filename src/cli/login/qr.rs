//! A QR code in the terminal, where there is one and the code fits.

use std::io::IsTerminal as _;

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

use crate::cli::printer;

/// Shows a text as a QR code, or nothing.
pub(super) fn show(text: &str) {
    let stderr = std::io::stderr();
    if !stderr.is_terminal() {
        return;
    }
    let Ok(size) = rustix::termios::tcgetwinsize(&stderr) else { return };
    if let Some(code) = drawn(text, usize::from(size.ws_col), usize::from(size.ws_row)) {
        printer::note(&format!("\n{code}"));
    }
}

/// Two modules to a character, dark on light as cameras want it, whatever the terminal's colours:
/// so it is drawn in reverse where the background is dark, which most are.
fn drawn(text: &str, columns: usize, rows: usize) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let wide = code.width() + 2 * QUIET;
    // The text above it should stay in sight.
    if wide > columns || wide.div_ceil(2) + LINES_ABOVE > rows {
        return None;
    }
    let colours = (Dense1x2::Light, Dense1x2::Dark);
    Some(code.render::<Dense1x2>().dark_color(colours.0).light_color(colours.1).build())
}

/// Empty modules around it.
const QUIET: usize = 4;
/// What `login` says before it.
const LINES_ABOVE: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_drawn_where_it_fits() {
        let url = "https://idp.example/device?user_code=WDJB-MJHT";
        let code = drawn(url, 80, 40).unwrap();
        let widths: Vec<_> = code.lines().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0] && *width <= 80), "{widths:?}");
        assert!(widths.len() < 25);
        assert!(drawn(url, 30, 40).is_none() && drawn(url, 80, 20).is_none());
        assert!(drawn(&"x".repeat(5000), 1000, 1000).is_none(), "more than a code can hold");
    }
}
