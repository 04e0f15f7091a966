//! Where records go. One sink exists, the local file; a second would make this boundary a trait:
//! `append` takes whole sealed lines and says whether all of them, or none, are in safe hands.

pub(crate) mod file;
pub(crate) mod places;
