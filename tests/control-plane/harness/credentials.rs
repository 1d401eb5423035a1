//! Who may talk to the bed's API servers, and the keys that they are known by.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};

/// A user of the token file; the token is the name.
struct User {
    name: &'static str,
    known_as: &'static str,
    groups: &'static str,
}

/// The cluster admin.
pub(crate) const ADMIN: &str = "admin";
/// A tenant, who has no right until a test grants one.
pub(crate) const ALICE: &str = "alice";
/// Another tenant.
pub(crate) const BOB: &str = "bob";
/// The harness itself where it plays a kubelet: apart from the admin, so that it does not count among what a test does.
pub(crate) const KUBELET: &str = "kubelet";
pub(super) const CONTROLLER_MANAGER: &str = "kube-controller-manager";
pub(super) const SCHEDULER: &str = "kube-scheduler";

const USERS: [User; 6] = [
    User { name: ADMIN, known_as: "admin", groups: "system:masters" },
    User { name: ALICE, known_as: "alice", groups: "tenants" },
    User { name: BOB, known_as: "bob", groups: "tenants" },
    User { name: KUBELET, known_as: "kubelet", groups: "system:masters" },
    User { name: CONTROLLER_MANAGER, known_as: "system:kube-controller-manager", groups: "" },
    User { name: SCHEDULER, known_as: "system:kube-scheduler", groups: "" },
];

/// The token of a user of the token file.
pub(crate) fn token_of(user: &str) -> String {
    assert!(USERS.iter().any(|known| known.name == user), "{user} is no user of the bed");
    format!("token-of-{user}")
}

/// Files that the API servers share, in one directory.
pub(super) struct Credentials {
    directory: PathBuf,
    pub(super) ca: String,
}

impl Credentials {
    pub(super) fn issue(directory: &Path) -> Self {
        std::fs::create_dir_all(directory).unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.join(name), text).unwrap();

        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "control plane of a test");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_key = KeyPair::generate().unwrap();
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();

        // Loopback: whatever is put between a client and an API server, the name that is verified is this one.
        let names = ["localhost", "127.0.0.1", "::1", "kubernetes.default.svc", "10.0.0.1"].map(str::to_owned);
        let mut leaf = CertificateParams::new(names).unwrap();
        leaf.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        let certificate = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap().pem();

        let accounts = KeyPair::generate().unwrap();
        write("ca.crt", &ca_pem);
        write("tls.crt", &certificate);
        write("tls.key", &key.serialize_pem());
        write("sa.key", &accounts.serialize_pem());
        write("sa.pub", &accounts.public_key_pem());
        let line =
            |user: &User| format!("{},{},{},\"{}\"\n", token_of(user.name), user.known_as, user.name, user.groups);
        write("tokens.csv", &USERS.iter().map(line).collect::<String>());
        Self { directory: directory.to_owned(), ca: ca_pem }
    }

    pub(super) fn file(&self, name: &str) -> String {
        self.directory.join(name).to_string_lossy().into_owned()
    }
}

/// A kubeconfig for one server and one token. JSON is YAML.
pub(super) fn kubeconfig(url: &str, ca: &str, token: &str) -> Value {
    let ca = k8s_openapi::ByteString(ca.as_bytes().to_vec());
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "bed",
        "clusters": [{ "name": "bed", "cluster": { "server": url, "certificate-authority-data": ca } }],
        "users": [{ "name": "bed", "user": { "token": token } }],
        "contexts": [{ "name": "bed", "context": { "cluster": "bed", "user": "bed", "namespace": "default" } }],
    })
}
