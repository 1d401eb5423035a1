//! The two webhook configurations of the cluster, which the leader makes and owns.
//!
//! The chart says what they are once armed, in a `ConfigMap` that each replica mounts ([`template`]). The leader writes whole
//! objects and repairs what differs ([`registrar`]). It begins with failure policies that block nothing, and takes the
//! real ones once it has seen that the API server reaches the webhooks ([`probe`]): a process that can't start, or can't
//! be reached, never stands in anybody's way.

pub mod probe;
pub mod registrar;
pub mod template;
