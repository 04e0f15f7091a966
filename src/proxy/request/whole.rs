//! A part of a coded answer cannot be searched for tokens. Its whole can: it is asked for in the
//! place of the part, which is then cut out of it (`masking::Part`).

use http::StatusCode;

use super::retry::Resend;
use crate::masking::Part;
use crate::passage::{JudgedRequest, Passed};
use crate::proxy::back::upstream::Answered;

/// Asks for the whole where the answer is a part that cannot be searched. The answer keeps the head
/// of the part, and has the body of the whole; several parts are answered by the whole itself. Where
/// that comes to nothing it stays as it was.
pub async fn instead_of_part(
    passed: &Passed,
    whole: JudgedRequest,
    answered: Answered,
    again: &mut impl Resend,
) -> (Answered, Option<Part>) {
    if passed.are_unsearchable_parts(answered.status, &answered.headers) {
        let whole = again.resend(passed, whole).await;
        return (whole.filter(|whole| whole.status == StatusCode::OK).unwrap_or(answered), None);
    }
    let Some(part) = passed.unsearchable_part(answered.status, &answered.headers) else {
        return (answered, None);
    };
    match again.resend(passed, whole).await {
        Some(whole) if part.is_of(&answered.headers, whole.status, &whole.headers) => {
            let Answered { status, headers, .. } = answered;
            (Answered { status, headers, ..whole }, Some(part))
        }
        _ => (answered, None),
    }
}
