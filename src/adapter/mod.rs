//! Floor 6: our decisions inside other people's proxies. Each adapter is a cargo feature and says
//! what it cannot enforce there.

#[cfg(feature = "hudsucker")]
pub mod hudsucker;
