//! Who may deviate: on a live cluster whoever its RBAC allows to `use` it
//! (<https://kubernetes.io/docs/reference/access-authn-authz/authorization/>); on an embedded one the members of
//! `system:masters`, whom RBAC never restricts, and nobody else.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};
use ringfence_core::admission::permission::{Answer, Use};
use ringfence_core::admission::review::UserInfo;
use ringfence_core::vocabulary::{GROUP, MASTERS_GROUP};

/// How long an answer is remembered: long enough for one `kubectl apply` of many objects, short enough that nobody
/// waits for a new role to count.
const REMEMBERED: Duration = Duration::from_secs(5);
/// How many answers are remembered at one time.
const ANSWERS: usize = 4096;
/// The API server waits 5 s for a decision, which may need two answers.
const DEADLINE: Duration = Duration::from_secs(2);

pub(super) fn embedded(user: &UserInfo<'_>) -> Answer {
    if user.groups.iter().any(|group| group == MASTERS_GROUP) { Answer::Allowed } else { Answer::Denied }
}

/// How many questions a user may cause in a second by way of one peer, and how many a peer: without a client certificate
/// anybody who reaches the port can send reviews in anybody's name, and must not use up what that user has elsewhere. An API
/// server that is in use causes far fewer, since answers are remembered. A peer's reviews may cause as many reads.
const PER_USER: u32 = 10;
const PER_PEER: u32 = 50;

/// How many users and peers are counted in a second.
const COUNTED: usize = 4096;

/// Who causes questions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Asker {
    User(String, Option<IpAddr>),
    Peer(IpAddr),
    /// A peer whose reviews cause reads.
    Reader(IpAddr),
}

/// How many questions each has caused in this second.
#[derive(Debug)]
struct Counts {
    since: Instant,
    by: HashMap<Asker, u32>,
}

impl Default for Counts {
    fn default() -> Self {
        Self { since: Instant::now(), by: HashMap::new() }
    }
}

impl Counts {
    /// Counts one more question of a user.
    fn admits(&mut self, user: &str, peer: Option<IpAddr>, now: Instant) -> bool {
        let mut askers = vec![(Asker::User(user.to_owned(), peer), PER_USER)];
        askers.extend(peer.map(|peer| (Asker::Peer(peer), PER_PEER)));
        self.count(askers, now)
    }

    /// Counts one more of something, unless somebody who causes it has caused too many, or too many are counted already.
    fn count(&mut self, askers: Vec<(Asker, u32)>, now: Instant) -> bool {
        if now.duration_since(self.since) >= Duration::from_secs(1) {
            self.since = now;
            self.by.clear();
        }
        let count = |asker: &Asker| self.by.get(asker).copied().unwrap_or_default();
        if askers.iter().any(|(asker, most)| count(asker) >= *most) || self.by.len() >= COUNTED {
            return false;
        }
        for (asker, _) in askers {
            *self.by.entry(asker).or_default() += 1;
        }
        true
    }
}

/// Everything that an authorizer may look at.
type Question = (SubjectKey, Use);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SubjectKey {
    username: String,
    uid: String,
    groups: Vec<String>,
    extra: Vec<(String, Vec<String>)>,
}

/// Answers of the API server, remembered for seconds.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    answers: Mutex<HashMap<Question, (Answer, Instant)>>,
    counts: Mutex<Counts>,
}

impl Remembered {
    fn get(&self, question: &Question) -> Option<Answer> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(question).filter(|(_, at)| at.elapsed() < REMEMBERED).map(|(answer, _)| answer.clone())
    }

    fn admits(&self, user: &str, peer: Option<IpAddr>) -> bool {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).admits(user, peer, Instant::now())
    }

    /// Whether a namespace may be read once more because of a review of this peer.
    pub(super) fn may_read_for(&self, peer: Option<IpAddr>) -> bool {
        let reader = peer.map(|peer| (Asker::Reader(peer), PER_PEER)).into_iter().collect();
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).count(reader, Instant::now())
    }

    fn put(&self, question: Question, answer: &Answer) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= ANSWERS {
            answers.retain(|_, (_, at)| at.elapsed() < REMEMBERED);
            if answers.len() >= ANSWERS {
                answers.clear();
            }
        }
        answers.insert(question, (answer.clone(), Instant::now()));
    }
}

/// Asks the API server whether a user may, as it would be asked for the user's own request: by name, uid, groups and
/// extras, which are the impersonated ones where the user impersonates. Only answers are remembered, not errors.
pub(super) async fn review(
    client: &kube::Client,
    remembered: &Remembered,
    user: &UserInfo<'_>,
    peer: Option<IpAddr>,
    asked: &Use,
) -> Answer {
    let subject = SubjectKey {
        username: user.username.clone().into_owned(),
        uid: user.uid.clone().into_owned(),
        groups: user.groups.clone(),
        extra: user.extra.clone().into_iter().collect(),
    };
    let question = (subject, asked.clone());
    if let Some(answer) = remembered.get(&question) {
        return answer;
    }
    if !remembered.admits(&user.username, peer) {
        return Answer::Unknown("too many permissions are asked for at one time".to_owned());
    }
    let review = SubjectAccessReview { spec: spec(&question.0, asked), ..SubjectAccessReview::default() };
    let api: Api<SubjectAccessReview> = Api::all(client.clone());
    let params = PostParams::default();
    let reply = tokio::time::timeout(DEADLINE, api.create(&params, &review)).await;
    let problem = match reply {
        Err(_) => format!("the API server did not answer within {} s", DEADLINE.as_secs()),
        Ok(Err(error)) => error.to_string(),
        Ok(Ok(review)) => {
            let status = review.status.unwrap_or_default();
            let error = status.evaluation_error.filter(|error| !status.allowed && !error.is_empty());
            let Some(error) = error else {
                let answer = if status.allowed { Answer::Allowed } else { Answer::Denied };
                remembered.put(question, &answer);
                return answer;
            };
            error
        }
    };
    // The API server asks again until its time is over, and then tells nobody what we answered.
    tracing::warn!(user = ?user.username, asked = ?asked.to_string(), problem = ?problem, "whether a user may deviate could not be found out");
    Answer::Unknown(problem)
}

fn spec(subject: &SubjectKey, asked: &Use) -> SubjectAccessReviewSpec {
    let namespace = match asked {
        Use::Exception { namespace, .. } => Some(namespace.clone()),
        Use::Profile(_) | Use::Mode(_) => None,
    };
    SubjectAccessReviewSpec {
        user: Some(subject.username.clone()),
        uid: Some(subject.uid.clone()).filter(|uid| !uid.is_empty()),
        groups: Some(subject.groups.clone()),
        extra: Some(subject.extra.iter().cloned().collect()),
        resource_attributes: Some(ResourceAttributes {
            group: Some(GROUP.to_owned()),
            resource: Some(asked.resource().to_owned()),
            name: Some(asked.name().to_owned()),
            namespace,
            verb: Some("use".to_owned()),
            ..ResourceAttributes::default()
        }),
        ..SubjectAccessReviewSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::{Duration, Instant};

    use super::{Counts, PER_PEER, PER_USER};

    #[test]
    fn case_76_a_user_or_a_peer_causes_a_few_questions_a_second_and_no_more() {
        let (mut counts, now) = (Counts::default(), Instant::now());
        let [server, stranger] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(|address| Some(IpAddr::from(address)));
        let admitted = (0..100).filter(|_| counts.admits("system:anonymous", stranger, now)).count();
        assert_eq!(admitted, PER_USER as usize);
        // Another name at each request helps a stranger as far as the peer's limit.
        let admitted = (0..1000).filter(|name| counts.admits(&name.to_string(), stranger, now)).count();
        assert_eq!(admitted, (PER_PEER - PER_USER) as usize);
        // What comes from the API server is asked all the same, in whosever name a stranger has asked.
        assert!(counts.admits("alice", server, now) && counts.admits("system:anonymous", server, now));
        assert!(counts.admits("system:anonymous", stranger, now + Duration::from_secs(1)));
    }
}
