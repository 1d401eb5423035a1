//! What must hold, of every state.

use super::code::Code;
use super::controller::Goes;
use super::state::{Cause, END, NAMES, Policy, Profile, Says, State, Stored, Wrong};
use super::webhook::{By, Created, Edit};

/// Why the stored policies are not effective.
fn why(cause: Option<Cause>) -> &'static str {
    match cause {
        None => "for no reason",
        Some(Cause::New) => "never were",
        Some(Cause::Bypass) => "were changed past the webhook",
        Some(Cause::Raced) => "were changed by two at one time",
        Some(Cause::Expired) => "had an exception that ended",
        Some(Cause::Profile) => "have to meet another profile",
        Some(Cause::Exempt) => "come out of an exemption",
        Some(Cause::Terminating) => "are cleared away",
        Some(Cause::Webhook) => "were changed as the webhook allowed",
        Some(Cause::Controller) => "were changed by the controller",
    }
}

impl State {
    /// A rule that is broken where a pod begins to run, or is to, because of what a replica knows. On that view the baseline
    /// must be effective. What is stored must be too, unless news that the replica can't do without is on its way to it:
    /// such a window is noted.
    pub(crate) fn broken_by_running(&self, code: &Code, replica: usize, what: &str) -> Option<Wrong> {
        let view = &self.replicas[replica].view;
        let held_back = view.stored.is_none() || view.is_enforced(self.clock);
        if held_back && !view.is_effective(self.clock) {
            return Some(Wrong::RanOnIneffectiveView);
        }
        if !self.is_bad() {
            return None;
        }
        if !self.has_news_for(replica) {
            return Some(Wrong::ConcludedWithoutNewsOnItsWay);
        }
        let uid = |stored: Option<Stored>| stored.map(|stored| stored.uid);
        let is_another = uid(view.stored) != uid(self.stored);
        let why = if is_another { "were another namespace's of this name" } else { why(self.cause) };
        code.found_window(format!("{what} on a view that is behind: the policies {why}"));
        None
    }

    /// What must hold of a pod that is created in this state, and of what a tenant tries.
    pub(crate) fn judge_people(&self, code: &Code) -> Option<Wrong> {
        let Some(stored) = self.stored else {
            let claiming = code.edit(None, Edit::ClaimingIsolated, self.clock, By::Tenant);
            return claiming
                .is_some_and(|(exempt, profile, isolated)| exempt || isolated || profile != Profile::Team)
                .then_some(Wrong::TenantDecided);
        };
        if stored.terminating {
            return None;
        }
        for (replica, _, created) in self.pods_created(code) {
            if created == Created::Running {
                code.saw("a pod is admitted unheld");
                if let Some(rule) = self.broken_by_running(code, replica, "a pod is admitted unheld") {
                    return Some(rule);
                }
            }
            if created == Created::Refused {
                code.saw("a pod is refused");
            }
        }
        if self.selected().is_some_and(|selected| selected.exempt || selected.isolated) {
            code.saw("a pod is created without a call");
            if !self.may_run_uncalled(code, stored) {
                return Some(Wrong::RanUncalled);
            }
        }
        let edits = [Edit::Strip, Edit::SetIsolated, Edit::DropIsolated, Edit::Exempt, Edit::Profile(Profile::Open)];
        let edits = edits.into_iter().any(|edit| self.edited(code, edit, By::Tenant).is_some());
        let lifts = self.replicas.iter().any(|replica| code.lets_tenant_lift(&replica.view, self.clock));
        (edits || lifts).then_some(Wrong::TenantDecided)
    }

    /// Whether a pod may run where the API server calls nobody: the stored policies are effective; or its copy is not what
    /// is stored; or the label is to go, for a reason that Ringfence could not prevent, and the controller is about to.
    fn may_run_uncalled(&self, code: &Code, stored: Stored) -> bool {
        if !self.is_bad() {
            return true;
        }
        let labels = |stored: Stored| (stored.uid, stored.exempt, stored.isolated);
        if self.copy.is_some_and(|copy| labels(copy) != labels(stored)) {
            code.found_window(
                "a pod is created without a call: the API server's copy of the labels is behind".to_owned(),
            );
            return true;
        }
        code.found_window(format!(
            "a pod is created without a call before the controller: the policies {}",
            why(self.cause)
        ));
        !matches!(self.cause, None | Some(Cause::New | Cause::Webhook | Cause::Controller))
    }

    /// What must hold once everything was delivered: of what is known, and of what the controller makes of it.
    pub(crate) fn judge_rest(&self, code: &Code) -> Option<Wrong> {
        for replica in 0..self.replicas.len() {
            let view = &self.replicas[replica].view;
            let known = (view.stored, view.policies, view.pods);
            if self.is_up_to_date(replica) && known != (self.stored, self.policies, self.pods) {
                return Some(Wrong::ViewIsNotWhatIsStored);
            }
        }
        let leader = usize::from(self.leader);
        if self.run.is_some() || !self.is_up_to_date(leader) {
            return None;
        }
        let planned = code.plan(&self.replicas[leader].view, self.clock);
        if !planned.actions.is_empty() {
            return None;
        }
        let stored = self.stored.filter(|stored| !stored.terminating)?;
        let (bad, held) = (self.is_bad(), self.pods.iter().any(Option::is_some));
        let enforced = stored.is_enforced(self.clock);
        let ends = |policy: &Policy| policy.says == Says::Excused;
        if stored.exempt && self.clock >= END {
            Some(Wrong::ExemptionDoesNotEnd)
        } else if stored.isolated != (enforced && !bad) {
            Some(Wrong::IsolatedDoesNotFollow)
        } else if held && !bad || bad && !self.names_what_is_in_the_way(code, stored) {
            Some(Wrong::HeldForNoReason)
        } else if self.clock < END && (stored.exempt || self.policies.iter().flatten().any(ends)) && !planned.again {
            Some(Wrong::EndIsForgotten)
        } else {
            None
        }
    }

    /// Whether the namespace tells of somebody else's policy that keeps it from being isolated.
    fn names_what_is_in_the_way(&self, code: &Code, stored: Stored) -> bool {
        let text = code.text(stored.conflict);
        let in_the_way = |says| matches!(says, Says::Narrow | Says::Wide | Says::Excused);
        NAMES
            .iter()
            .zip(self.policies)
            .any(|(name, policy)| policy.is_some_and(|policy| in_the_way(policy.says)) && text.contains(name))
    }

    /// Whether all was delivered to the leader and it is about to begin.
    pub(crate) fn is_at_a_beginning(&self) -> bool {
        self.run.is_none() && self.is_up_to_date(usize::from(self.leader))
    }

    /// Lets the leader do what it plans, with nothing in its way, until it plans nothing.
    pub(crate) fn settle(&self, code: &Code) -> Option<Wrong> {
        const STEPS: usize = 40;
        let (mut state, leader) = (self.clone(), usize::from(self.leader));
        for _ in 0..STEPS {
            let leading = &state.replicas[leader].view;
            if state.run.is_none() {
                for kind in 0..3 {
                    while state.replicas[leader].at[kind] < state.ends()[kind] {
                        state.deliver(code, leader, kind);
                    }
                }
                if code.plan(&state.replicas[leader].view, state.clock).actions.is_empty() {
                    return state.wrong.or_else(|| state.judge_rest(code));
                }
            } else {
                debug_assert!(leading.entry);
            }
            state.act(code, Goes::Well);
        }
        Some(Wrong::NeverSettles)
    }
}
