//! One worker's own: nothing in it is shared with other threads.

use std::sync::Arc;

use super::back::pool::Pool;
use super::shared::Proxy;

/// A thread that accepts connections and keeps them.
pub struct Worker {
    pub proxy: Arc<Proxy>,
    /// Upstream connections of clients on this worker.
    pub pool: Arc<Pool>,
}
