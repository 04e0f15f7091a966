//! Local attacks (part L of the hostile table): other users of the machine, a repository that changes after it was
//! trusted, and whoever answers in our place. Each with its control.

mod elsewhere;
mod inside;
mod peers;
mod places;
mod trust;
