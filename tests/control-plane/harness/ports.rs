//! Ports that are free, and stay so until the program that they are for listens.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::sync::Mutex;

/// Below what systems give to outgoing connections: one of those could take a port between its choice and its use, or
/// while an API server restarts.
const RANGE: std::ops::Range<u16> = 15_000..30_000;

/// A free port of loopback, which no other call has returned. By chance, since other test runs choose too.
pub(crate) fn free() -> u16 {
    static TAKEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut taken = super::lock(&TAKEN);
    let taken = taken.get_or_insert_default();
    loop {
        let chance = RandomState::new().hash_one(0) % u64::from(RANGE.end - RANGE.start);
        let port = RANGE.start + u16::try_from(chance).unwrap();
        if !taken.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            taken.insert(port);
            return port;
        }
    }
}
