//! How many file descriptors there are for connections.

/// What the process itself needs besides connections of the API server: listeners, its own connections to the API
/// server, files that it reads again, and the ports for health and metrics.
const OWN: usize = 64 + super::METRICS_CONNECTIONS + super::health::PLACES;

/// Raises the limit on open files as far as it goes, as Go's runtime does for its programs: many container runtimes give
/// a soft limit of 1024. Then it says how many of the connections wished for can be had, so that descriptors don't run
/// out by connections alone.
pub(super) fn for_connections(wished: usize) -> usize {
    let Some(limit) = raised() else { return wished };
    let possible = limit.saturating_sub(OWN).max(1);
    if possible < wished {
        tracing::warn!(
            limit,
            connections = possible,
            wished,
            "the limit on open files (ulimit -n) allows fewer connections than limits.connections"
        );
    }
    possible.min(wished)
}

/// The limit in force; `None` where there is none.
#[cfg(unix)]
fn raised() -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = if limit.current == limit.maximum || setrlimit(Resource::Nofile, raised).is_err() {
        limit.current
    } else {
        limit.maximum
    };
    current.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

#[cfg(not(unix))]
fn raised() -> Option<usize> {
    None
}
