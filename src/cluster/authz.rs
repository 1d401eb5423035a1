//! Who may deviate: on the embedded cluster the members of `system:masters`, whom RBAC never restricts, and nobody else.

use ringfence_core::admission::permission::{Answer, Use};
use ringfence_core::admission::review::UserInfo;
use ringfence_core::vocabulary::MASTERS_GROUP;

use super::Cluster;

impl Cluster {
    /// Whether a user may deviate in this way.
    #[must_use]
    pub fn may(&self, user: &UserInfo<'_>, _asked: &Use) -> Answer {
        if user.groups.iter().any(|group| group == MASTERS_GROUP) { Answer::Allowed } else { Answer::Denied }
    }
}
