//! What is known of the cluster besides its objects.

/// Facts about the cluster; what is not known is not judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {}
