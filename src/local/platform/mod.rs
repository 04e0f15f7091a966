//! Linux: what the kernel tells of users, directories, sockets and processes.

mod diag;
mod proc;
mod users;
mod walk;

pub(super) use diag::owner_of;
pub(super) use proc::parent_of;
pub(super) use users::overflow_uid;
pub(super) use walk::{Entry, Walked, by_descriptor, others_may_write, walk};
