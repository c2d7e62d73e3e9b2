use serde_json::{Value, json};

use crate::mirror::cause::Cause;
use crate::mirror::hops::PullHop;

/// What one host answered for one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The image, or the registry where only that was asked for.
    pub image: String,
    /// The nodes that would ask so; none where the inventory names none.
    pub nodes: Vec<String>,
    /// What the host is called.
    pub via: String,
    /// Its place in the pull.
    pub hop: usize,
    /// What was asked.
    pub url: String,
    /// What is wrong; [`None`]: it serves.
    pub cause: Option<Cause>,
    /// What showed it.
    pub evidence: String,
}

impl Finding {
    /// Returns whether pulls through the host work.
    pub fn is_ok(&self) -> bool {
        self.cause.is_none_or(Cause::is_warning)
    }

    /// Returns an object for scripts.
    pub fn to_json(&self) -> Value {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        json!({
            "image": self.image,
            "nodes": self.nodes,
            "via": self.via,
            "hop": self.hop,
            "url": self.url,
            "ok": self.is_ok(),
            "cause": self.cause.map(Cause::as_str),
            "evidence": some(&self.evidence),
            "fix": self.cause.map(|cause| fix(cause, &self.via, &self.url)),
        })
    }

    /// Makes a finding of a hop.
    pub fn of(hop: &PullHop, image: &str, nodes: &[String], result: Result<String, (Cause, String)>) -> Self {
        let (cause, evidence) = match result {
            Ok(evidence) => (None, evidence),
            Err((cause, evidence)) => (Some(cause), evidence),
        };
        Self {
            image: image.to_owned(),
            nodes: nodes.to_owned(),
            via: hop.via.clone(),
            hop: hop.number,
            url: hop.url.clone(),
            cause,
            evidence,
        }
    }
}

/// Returns the command or the edit that fixes a cause.
pub fn fix(cause: Cause, via: &str, url: &str) -> String {
    let host = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or(url);
    let at =
        if via == "upstream" { "the registry's `upstream`".to_owned() } else { format!("mirrors.{via}") };
    match cause {
        Cause::NameUnresolved => format!("check the name `{host}` and the DNS servers: getent hosts {host}"),
        Cause::Unreachable => format!("check that the server runs, and firewalls: curl -v {}", base(url)),
        Cause::TlsUntrusted => format!("give its authority: `tls: {{caFile: ca.crt}}` under {at}"),
        Cause::TlsName | Cause::TlsExpired => format!("renew the certificate of {host}"),
        Cause::TlsFailed => format!("check the scheme and the port of {at}"),
        Cause::CredentialsRejected if via == "upstream" => {
            "log in again, and renew the registry's `upstream.credentials`: talmirror rotate REGISTRY"
                .to_owned()
        }
        Cause::CredentialsRejected => format!("talmirror rotate {via}"),
        Cause::CredentialsMissing => format!("give `credentials` under {at}"),
        Cause::AccessDenied => format!("give the account of {at} the right to pull this repository"),
        Cause::TokenServer => format!("check the token server that {host} names"),
        Cause::WebPage => format!("correct the path of {at}: talmirror explain V311"),
        Cause::NotARegistry if host == "docker.io" || host.ends_with(".docker.com") => {
            "use https://registry-1.docker.io, or leave the endpoint out: Talos adds the upstream by itself"
                .to_owned()
        }
        Cause::NotARegistry => format!("correct the URL of {at}"),
        Cause::PathUnknown => {
            format!("create the project or repository on {host}, or correct its name under {at}")
        }
        Cause::ImageMissing => "check the name and the tag; the mirror may not reach its upstream".to_owned(),
        Cause::BlobMissing => format!("remove the image from {host} and pull it through again"),
        Cause::BlobDamaged => format!("remove the image from {host}: what it stores is damaged"),
        Cause::RateLimited | Cause::QuotaLow => format!("wait, or give `credentials` under {at}"),
        Cause::ServerFails => format!("see the logs of {host}"),
        Cause::RedirectRefused => format!("correct the URL of {at}"),
        Cause::SignatureLost => {
            "let the mirror pass referrers and .sig tags on: talmirror explain V320".to_owned()
        }
        Cause::TooSlow => format!("see the load of {host}, and the way to it"),
        Cause::AnswerInvalid => format!("see the logs of {host}: is something in between?"),
        Cause::HostsForeign => {
            "let the other program leave this registry alone, or take it off the nodes".to_owned()
        }
        Cause::NotRolledOut => "talmirror diff, then talmirror rollout".to_owned(),
        Cause::VerificationFailed => {
            "sign the image, or correct its rule of ImageVerificationConfig: talmirror explain V332"
                .to_owned()
        }
        Cause::VerificationDenied => {
            "put a rule for it before the one that denies it, in ImageVerificationConfig".to_owned()
        }
        Cause::NameUnresolvedOnNode => {
            format!("give the nodes DNS servers that know `{host}`: machine.network.nameservers")
        }
        Cause::ClockSkew => "check the node's time servers: talosctl get timestatus".to_owned(),
        Cause::NodeUnreachable => "talmirror nodes".to_owned(),
        Cause::NoMirror => "put the registry into the inventory: talmirror scan --add".to_owned(),
    }
}

fn base(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    format!("{scheme}://{}/v2/", rest.split('/').next().unwrap_or(rest))
}

/// Findings with one cause at one host: one line for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group<'a> {
    /// The first of them.
    pub first: &'a Finding,
    /// The images that it holds for.
    pub images: Vec<&'a str>,
    /// The nodes that it holds for.
    pub nodes: Vec<&'a str>,
}

/// Puts findings together that have one cause at one host, in the order in which they first came.
pub fn group(findings: &[Finding]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let host = |finding: &Finding| base(&finding.url);
    for finding in findings {
        let same = |group: &Group<'_>| {
            group.first.cause == finding.cause
                && group.first.via == finding.via
                && host(group.first) == host(finding)
                && (finding.hop > 0 || finding.cause.is_some() || group.first.evidence == finding.evidence)
        };
        if !groups.iter().any(same) {
            groups.push(Group { first: finding, images: Vec::new(), nodes: Vec::new() });
        }
        let Some(group) = groups.iter_mut().find(|group| same(group)) else { continue };
        if !group.images.contains(&finding.image.as_str()) {
            group.images.push(&finding.image);
        }
        for node in &finding.nodes {
            if !group.nodes.contains(&node.as_str()) {
                group.nodes.push(node);
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(image: &str, url: &str, cause: Option<Cause>) -> Finding {
        Finding {
            image: image.to_owned(),
            nodes: Vec::new(),
            via: "harbor".to_owned(),
            hop: 1,
            url: url.to_owned(),
            cause,
            evidence: "it rejects the credentials (401)".to_owned(),
        }
    }

    #[test]
    fn one_cause_behind_many_images_is_one_line() {
        let rejected = Some(Cause::CredentialsRejected);
        let findings = [
            finding("a:1", "https://h/v2/x/a/manifests/1", rejected),
            finding("b:1", "https://h/v2/y/b/manifests/1", rejected),
            finding("c:1", "https://h/v2/y/c/manifests/1", None),
            finding("a:1", "https://other/v2/x/a/manifests/1", rejected),
        ];
        let groups = group(&findings);
        let images: Vec<&[&str]> = groups.iter().map(|group| group.images.as_slice()).collect();
        assert_eq!(images, [&["a:1", "b:1"][..], &["c:1"], &["a:1"]]);
    }

    #[test]
    fn objects_for_scripts() {
        let value =
            finding("a:1", "https://h/v2/x/a/manifests/1", Some(Cause::CredentialsRejected)).to_json();
        assert_eq!(
            value.to_string(),
            r#"{"image":"a:1","nodes":[],"via":"harbor","hop":1,"url":"https://h/v2/x/a/manifests/1","ok":false,"cause":"V307","evidence":"it rejects the credentials (401)","fix":"talmirror rotate harbor"}"#
        );
        for cause in Cause::ALL {
            assert!(!fix(*cause, "harbor", "https://h/v2/a").is_empty());
        }
    }
}
