//! What the property tests share.

pub(crate) mod agreement;
pub(crate) mod clusters;
pub(crate) mod generate;
pub(crate) mod hostile;
pub(crate) mod lints;
pub(crate) mod naive;
pub(crate) mod reach;
pub(crate) mod seen;
