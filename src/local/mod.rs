//! Floor 0: what a place on disk or a peer on a socket must be before it is believed.
//!
//! The machine has other users, and a name is no proof of what stands behind it. So a [`place`] is
//! judged together with all directories above it and then used by the descriptor that was judged, a
//! [`peer`] by what the kernel says of its socket, and both by [`uid::Uid`], which is never the one
//! that stands for nobody in particular. A [`fence`] keeps what we start out of a place that others
//! change. A stranger reads `place` first.

pub mod fence;
pub mod peer;
pub mod place;
pub mod process;
pub mod uid;
