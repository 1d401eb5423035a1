//! What must hold, of every state.

use super::code::Code;
use super::controller::Goes;
use super::facts::{is_effective, recorded};
use super::state::{Cause, END, NAMES, Policies, Policy, Profile, SLOTS, Says, State, Stored, View, Wrong, rules_of};
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
        Some(Cause::Rules) => "have to meet other rules",
        Some(Cause::Pruned) => "were changed while the controller pruned",
        Some(Cause::Exempt) => "come out of an exemption",
        Some(Cause::Terminating) => "are cleared away",
        Some(Cause::Admitted(_)) => "were changed as the webhook allowed",
        Some(Cause::Controller) => "were changed by the controller",
    }
}

impl State {
    /// A rule that is broken where a pod begins to run, or is to, because of a view. By that view the namespace must be
    /// isolated. What is stored must be effective too, unless news that no view can do without is on its way: such a window
    /// is noted.
    pub(crate) fn broken_by_running(&self, code: &Code, view: &View, news: Option<Cause>, what: &str) -> Option<Wrong> {
        let held_back = view.stored.is_none() || view.is_enforced(self.clock);
        if held_back && !view.is_isolating(self.clock) {
            return Some(Wrong::RanOnIneffectiveView);
        }
        if !self.is_bad() {
            return None;
        }
        if news.is_none() {
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
                .is_some_and(|(exempt, profile, isolated, _)| exempt || isolated || profile != Profile::Team)
                .then_some(Wrong::TenantDecided);
        };
        if stored.terminating {
            return self.judge_while_terminating(code, stored);
        }
        for (replica, _, created) in self.pods_created(code) {
            if created == Created::Running {
                code.saw("a pod is admitted unheld");
                let view = &self.replicas[usize::from(replica)].view;
                let news = self.missed_by(replica);
                if let Some(rule) = self.broken_by_running(code, view, news, "a pod is admitted unheld") {
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
        let lifts = self.replicas.iter().any(|replica| code.lets_tenant_lift(&replica.view, self.clock));
        (lifts || code.lets_tenant_edit(stored, self.clock)).then_some(Wrong::TenantDecided)
    }

    /// Whether a replica that knows everything lets a user delete the policies of a namespace that terminates: none that
    /// isolates a pod, while a pod may run; and each, once none may.
    fn judge_while_terminating(&self, code: &Code, stored: Stored) -> Option<Wrong> {
        let effective = |policies: &Policies| is_effective(policies, stored.profile, self.clock, self.config);
        for replica in &self.replicas {
            let knows = self.knows(&replica.view) && replica.pending[0].is_none();
            for slot in (0..SLOTS).filter(|slot| knows && self.says(*slot).is_some()) {
                let mut without = self.policies;
                without[usize::from(slot)] = None;
                let ends = stored.is_enforced(self.clock) && effective(&self.policies) && !effective(&without);
                let change = (slot, self.from(slot), None);
                let verdict = self.verdict(code, &replica.view, replica.pending, change, By::Tenant);
                if if self.may_run() { ends && verdict.allowed } else { !verdict.allowed } {
                    return Some(Wrong::TerminatesWrongly);
                }
                if ends && self.lies {
                    code.saw("a policy of a pod that seems to have ended is not deleted");
                }
            }
        }
        None
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
        !matches!(self.cause, None | Some(Cause::New | Cause::Admitted(_) | Cause::Controller))
    }

    /// What must hold once everything was delivered: of what is known, and of what the controller makes of it.
    pub(crate) fn judge_rest(&self, code: &Code) -> Option<Wrong> {
        for (number, replica) in (0..).zip(&self.replicas) {
            let view = &replica.view;
            let known = (view.stored, view.policies, view.pods);
            if self.is_up_to_date(usize::from(number)) {
                if known != (self.stored, self.policies, self.pods) {
                    return Some(Wrong::ViewIsNotWhatIsStored);
                }
                // Where nothing is reserved that is decided, or a read will say so.
                let stays = replica
                    .pending
                    .iter()
                    .flatten()
                    .any(|reserved| !self.is_under_way(number, *reserved) && !self.is_shown(number, reserved.slot));
                if stays {
                    return Some(Wrong::ReservationStays);
                }
            }
        }
        if !self.is_at_a_beginning() {
            return None;
        }
        let leader = &self.replicas[usize::from(self.leader)].view;
        let given_up = self.given_up(leader);
        let planned = code.plan(leader, self.clock, given_up);
        if !planned.actions.is_empty() || planned.waits {
            return None;
        }
        let stored = self.stored.filter(|stored| !stored.terminating)?;
        let (bad, held) = (self.is_bad(), self.pods.iter().any(Option::is_some));
        let enforced = stored.is_enforced(self.clock);
        let ends = |policy: &Policy| policy.says == Says::Excused;
        let record = stored.effective;
        let is_wrong = |policy: &Policy| policy.quarantined && policy.says.opens(0);
        if stored.exempt && self.clock >= END {
            Some(Wrong::ExemptionDoesNotEnd)
        } else if stored.isolated != (enforced && !bad) {
            Some(Wrong::IsolatedDoesNotFollow)
        } else if held && !bad || bad && !self.names_what_is_in_the_way(code, stored) {
            Some(Wrong::HeldForNoReason)
        } else if bad && given_up == 0 && record.is_some_and(|it| it.rules == rules_of(stored.profile, self.config)) {
            Some(Wrong::NotQuarantined)
        } else if stored.isolated && record != Some(recorded(&self.policies, stored.profile, self.clock, self.config)) {
            Some(Wrong::RecordedWrongly)
        } else if enforced && self.policies.iter().flatten().any(is_wrong) {
            Some(Wrong::QuarantineDoesNotEnd)
        } else if self.clock < END && (stored.exempt || self.policies.iter().flatten().any(ends)) && !planned.again {
            Some(Wrong::EndIsForgotten)
        } else {
            None
        }
    }

    /// Whether the namespace tells of a policy that keeps it from being isolated.
    fn names_what_is_in_the_way(&self, code: &Code, stored: Stored) -> bool {
        let text = code.text(stored.conflict);
        let opens = |policy: Policy| policy.says.opens(END);
        NAMES.iter().zip(self.policies).any(|(name, policy)| policy.is_some_and(opens) && text.contains(name))
    }

    /// Whether all was delivered to the leader and it is about to begin.
    pub(crate) fn is_at_a_beginning(&self) -> bool {
        self.run.is_none() && self.look.is_none() && self.is_up_to_date(usize::from(self.leader))
    }

    /// Lets the leader do what it plans, with nothing in its way, until it plans nothing. It knows what is stored, so nothing
    /// else matters for what comes of that.
    pub(crate) fn settle(&self, code: &Code) -> Option<Wrong> {
        let leader = &self.replicas[usize::from(self.leader)].view;
        let knows = (leader.stored, leader.policies, leader.pods) == (self.stored, self.policies, self.pods);
        if !knows {
            return Some(Wrong::ViewIsNotWhatIsStored);
        }
        code.settled.get((leader.facts(), self.clock, self.given_up(leader)), || self.settle_anew(code))
    }

    fn settle_anew(&self, code: &Code) -> Option<Wrong> {
        const STEPS: usize = 40;
        let (mut state, leader) = (self.clone(), usize::from(self.leader));
        for _ in 0..STEPS {
            if state.run.is_none() {
                for kind in 0..3 {
                    while state.replicas[leader].at[kind] < state.ends()[kind] {
                        state.deliver(code, leader, kind);
                    }
                }
                let view = &state.replicas[leader].view;
                let planned = code.plan(view, state.clock, state.given_up(view));
                if planned.actions.is_empty() && planned.waits {
                    state.look();
                    state.take_look(code);
                    continue;
                }
                if planned.actions.is_empty() {
                    return state.wrong.or_else(|| state.judge_rest(code));
                }
            }
            state.act(code, Goes::Well);
        }
        Some(Wrong::NeverSettles)
    }
}
