//! The faults of the contract: what breaks, what must happen, the figure to reach, and what was measured. Most are
//! shown by tests elsewhere; here is the table of all (`tests/faults` prints it), and the tests of those that are nobody
//! else's.

mod ca;
mod issuer;
mod memory;
mod partition;
mod table;
