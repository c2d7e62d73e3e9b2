//! An authority as `talosctl gen config` makes it: Ed25519, `O=talos`, clients whose organisation is their role.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ED25519, SanType,
};

/// An authority of a cluster.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub pem: String,
}

/// A certificate and its key, as PEM; a client's key has the label that Talos gives it.
#[derive(Clone)]
pub struct Pair {
    pub crt: String,
    pub key: String,
}

fn params(organization: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, organization);
    params
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = params("talos");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Makes a client's certificate, valid between two seconds of Unix time.
    pub fn client(&self, role: &str, from: u64, to: u64) -> Pair {
        let mut params = params(role);
        let time = |second| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(second);
        (params.not_before, params.not_after) = (time(from), time(to));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let crt = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { crt, key: key.serialize_pem().replace("PRIVATE KEY", "ED25519 PRIVATE KEY") }
    }

    /// Makes a server's certificate for an address.
    pub fn server(&self, address: &str) -> Pair {
        self.server_of(params(""), address)
    }

    /// Makes a server's certificate that expired long ago.
    pub fn expired_server(&self, address: &str) -> Pair {
        let mut params = params("");
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        self.server_of(params, address)
    }

    fn server_of(&self, mut params: CertificateParams, address: &str) -> Pair {
        params.subject_alt_names = vec![SanType::IpAddress(address.parse().unwrap())];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        Pair { crt: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }

    /// Writes a talosconfig of one context.
    pub fn talosconfig(&self, endpoints: &[String], client: Option<&Pair>) -> String {
        let endpoints: Vec<String> = endpoints.iter().map(|endpoint| format!("'{endpoint}'")).collect();
        let mut text =
            format!("context: c\ncontexts:\n    c:\n        endpoints: [{}]\n", endpoints.join(", "));
        let pair = client.map(|pair| [("crt", &pair.crt), ("key", &pair.key)]);
        for (field, pem) in [("ca", &self.pem)].into_iter().chain(pair.into_iter().flatten()) {
            text.push_str(&format!("        {field}: {}\n", BASE64.encode(pem)));
        }
        text
    }
}
