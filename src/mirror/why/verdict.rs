use super::node_log::LogLine;
use crate::image::Reference;
use crate::mirror::cause::Cause;
use crate::mirror::hops::PullHop;
use crate::mirror::verify::{Finding, fix};
use crate::registries::{Auth, Endpoint, Mirror, Registries};

/// What a node says that explains a pull.
#[derive(Clone, Debug, Default)]
pub struct NodeFacts {
    /// Why it does not answer.
    pub unreachable: Option<String>,
    /// Hosts before the mirrors that Talos did not write.
    pub foreign_hosts: Vec<String>,
    /// How its settings for the image's registry differ from the inventory's.
    pub differs: Option<String>,
    /// Whether its time is synchronised, where it says so.
    pub time_synced: Option<bool>,
    /// What it makes of the image by its rules for signatures: what is worth telling, or why it would not pull it.
    pub verification: Option<Result<String, (Cause, String)>>,
    /// What its containerd logged last about the image.
    pub log: Option<LogLine>,
}

/// What explains a pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What is wrong; [`None`]: nothing was found.
    pub cause: Option<Cause>,
    /// What showed it.
    pub evidence: String,
    /// What to do about it.
    pub fix: Option<String>,
    /// Whether the image comes all the same, from a host after the one that fails.
    pub bypassed: bool,
}

impl Verdict {
    fn of(cause: Cause, evidence: String, via: &str, url: &str) -> Self {
        Self { cause: Some(cause), evidence, fix: Some(fix(cause, via, url)), bypassed: false }
    }
}

/// Names the first cause that explains a pull: the node's own; then that of the first host that fails before one serves;
/// then that the node does not answer; then what its containerd said of hosts that answer well from here.
///
/// `findings` are those of the image's hosts, in the order of a pull.
pub fn judge(node: Option<&NodeFacts>, findings: &[Finding]) -> Verdict {
    if let Some(verdict) = node.and_then(own_cause) {
        return verdict;
    }
    let serves = findings.iter().position(Finding::is_ok).unwrap_or(findings.len());
    let asked = findings.get(..=serves).unwrap_or(findings);
    if let Some(refused) = node.and_then(refused) {
        // The mirror that loses the signature is the cause of it.
        let lost = asked.iter().find(|finding| finding.cause == Some(Cause::SignatureLost));
        let lost = lost.filter(|_| refused.cause == Some(Cause::VerificationFailed));
        return lost.map_or(refused.clone(), |lost| {
            let evidence = format!("{}: {}; {}", lost.via, lost.evidence, refused.evidence);
            Verdict::of(Cause::SignatureLost, evidence, &lost.via, &lost.url)
        });
    }
    if let Some(failed) = asked.iter().find(|finding| !finding.is_ok()) {
        let cause = failed.cause.unwrap_or(Cause::AnswerInvalid);
        let evidence = format!("{}: {}", failed.via, failed.evidence);
        // containerd takes these for answers, or ends the pull: no other host is asked.
        let ends = matches!(cause, Cause::WebPage | Cause::BlobDamaged | Cause::RedirectRefused);
        let bypassed = !ends && findings.iter().any(|finding| finding.hop > failed.hop && finding.is_ok());
        return Verdict { bypassed, ..Verdict::of(cause, evidence, &failed.via, &failed.url) };
    }
    let hosts = || findings.iter().map(|finding| (finding.via.as_str(), finding.url.as_str()));
    let last =
        |node| unreachable(node).or_else(|| unresolved(node, hosts())).or_else(|| of_log(node, hosts()));
    if let Some(verdict) = node.and_then(last) {
        return verdict;
    }
    if let Some((told, cause)) = asked.iter().find_map(|finding| Some((finding, finding.cause?))) {
        return Verdict::of(cause, format!("{}: {}", told.via, told.evidence), &told.via, &told.url);
    }
    if findings.iter().all(|finding| finding.via == "upstream") {
        let evidence = "nodes go to the registry itself".to_owned();
        return Verdict::of(Cause::NoMirror, evidence, "", "");
    }
    Verdict { cause: None, evidence: String::new(), fix: None, bypassed: false }
}

/// Names what explains a pull of a node by what the node says alone.
///
/// `route` are the hosts that it asks, in order.
pub fn of_node(node: &NodeFacts, route: &[PullHop]) -> Option<Verdict> {
    let hosts = || route.iter().map(|hop| (hop.via.as_str(), hop.url.as_str()));
    unreachable(node)
        .or_else(|| own_cause(node))
        .or_else(|| refused(node))
        .or_else(|| unresolved(node, hosts()))
        .or_else(|| of_log(node, hosts()))
}

/// Names what keeps the node from pulling the image though it is served.
fn refused(node: &NodeFacts) -> Option<Verdict> {
    match node.verification.as_ref()? {
        Err((cause @ (Cause::VerificationFailed | Cause::VerificationDenied), text)) => {
            Some(Verdict::of(*cause, format!("the node: {text}"), "", ""))
        }
        Ok(_) | Err(_) => None,
    }
}

/// Names why the node did not find the image when it was to verify it; the first host is meant where none is named.
fn unresolved<'a>(node: &NodeFacts, mut hosts: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Verdict> {
    let Some(Err((cause, text))) = &node.verification else { return None };
    let (via, url) = hosts.next().unwrap_or_default();
    Some(Verdict::of(*cause, format!("the node: {text}"), via, url))
}

/// `hosts` are those that the node asks: how each is called, and its URL.
fn of_log<'a>(node: &NodeFacts, mut hosts: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Verdict> {
    let line = node.log.as_ref()?;
    let (via, url) = hosts.nth(line.hop.unwrap_or_default()).unwrap_or_default();
    Some(Verdict::of(line.cause, format!("the node's containerd: {}", line.text), via, url))
}

fn unreachable(node: &NodeFacts) -> Option<Verdict> {
    node.unreachable.as_ref().map(|why| Verdict::of(Cause::NodeUnreachable, why.clone(), "", ""))
}

fn own_cause(node: &NodeFacts) -> Option<Verdict> {
    let verdict = |cause, evidence| Some(Verdict::of(cause, evidence, "", ""));
    if !node.foreign_hosts.is_empty() {
        let evidence = format!("Talos did not write {}", node.foreign_hosts.join(", "));
        return verdict(Cause::HostsForeign, evidence);
    }
    if let Some(how) = &node.differs {
        return verdict(Cause::NotRolledOut, how.clone());
    }
    if node.time_synced == Some(false) {
        return verdict(Cause::ClockSkew, "its time is not synchronised (TimeStatus)".to_owned());
    }
    None
}

/// Returns how two settings for an image's registry differ: its mirrors, or what they are shown and how they are checked.
///
/// [`None`]: they mean the same.
pub fn settings_differ(has: &Registries, wanted: &Registries, image: &Reference) -> Option<String> {
    let (mirror, wanted_mirror) = (has.mirror_of(image.registry()), wanted.mirror_of(image.registry()));
    let same = match (mirror, wanted_mirror) {
        (None, None) => true,
        (Some((_, has)), Some((_, wanted))) => {
            has.skip_fallback == wanted.skip_fallback
                && has.endpoints.len() == wanted.endpoints.len()
                && has.endpoints.iter().zip(&wanted.endpoints).all(|(a, b)| a.means_the_same(b))
        }
        (Some(_), None) | (None, Some(_)) => false,
    };
    let shown = |mirror: Option<(&str, &Mirror)>| {
        let Some((_, mirror)) = mirror else { return "no mirror".to_owned() };
        let urls: Vec<String> =
            mirror.endpoints.iter().map(|endpoint| crate::secret::without_userinfo(&endpoint.url)).collect();
        let fallback = if mirror.skip_fallback { " without a fallback" } else { "" };
        format!("{}{fallback}", if urls.is_empty() { "no endpoint".to_owned() } else { urls.join(" ") })
    };
    if !same {
        return Some(format!("the node has {}, the inventory gives {}", shown(mirror), shown(wanted_mirror)));
    }
    let mut hosts = wanted_mirror.into_iter().flat_map(|(_, mirror)| &mirror.endpoints).map(Endpoint::host);
    let auth = |of: &Registries, host: &str| {
        of.auth.get(host).cloned().map(Auth::with_plain_pair).unwrap_or_default()
    };
    let tls = |of: &Registries, host: &str| of.tls.get(host).cloned().unwrap_or_default();
    let differs = |host: &&str| auth(has, host) != auth(wanted, host) || tls(has, host) != tls(wanted, host);
    let host = hosts.find(differs)?;
    Some(format!("the node has other credentials or TLS settings for {host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(hop: usize, via: &str, cause: Option<Cause>) -> Finding {
        Finding {
            image: "a:1".to_owned(),
            nodes: Vec::new(),
            via: via.to_owned(),
            hop,
            url: format!("https://{via}/v2/a/manifests/1"),
            cause,
            evidence: "seen".to_owned(),
        }
    }

    #[test]
    fn the_first_cause_that_explains_a_pull() {
        let verdict = |node: Option<NodeFacts>, hub, upstream| {
            let findings = [finding(1, "hub", hub), finding(2, "upstream", upstream)];
            let verdict = judge(node.as_ref(), &findings);
            (verdict.cause, verdict.bypassed)
        };
        let (rejected, page) = (Some(Cause::CredentialsRejected), Some(Cause::WebPage));
        assert_eq!(verdict(None, None, None), (None, false));
        assert_eq!(verdict(None, rejected, None), (rejected, true));
        assert_eq!(verdict(None, page, None), (page, false), "containerd asks no other host");
        assert_eq!(verdict(None, None, rejected), (None, false), "no pull comes so far");
        assert_eq!(verdict(None, Some(Cause::SignatureLost), None), (Some(Cause::SignatureLost), false));
        let line =
            LogLine { cause: Cause::NameUnresolvedOnNode, text: "no such host".to_owned(), hop: Some(1) };
        let log = NodeFacts { log: Some(line), ..NodeFacts::default() };
        assert_eq!(verdict(Some(log.clone()), None, None).0, Some(Cause::NameUnresolvedOnNode));
        assert_eq!(verdict(Some(log.clone()), rejected, None).0, rejected);
        let down = NodeFacts { unreachable: Some("no answer".to_owned()), ..NodeFacts::default() };
        assert_eq!(
            verdict(Some(down.clone()), rejected, None),
            (rejected, true),
            "what can be seen from here"
        );
        assert_eq!(verdict(Some(down.clone()), None, None).0, Some(Cause::NodeUnreachable));
        assert_eq!(of_node(&down, &[]).unwrap().cause, Some(Cause::NodeUnreachable));
        let fix = judge(Some(&log), &[finding(1, "hub", None), finding(2, "two.example", None)]).fix;
        assert!(fix.unwrap().contains("`two.example`"), "the host that the log names");
        let spegel = NodeFacts { foreign_hosts: vec!["http://s".to_owned()], ..log };
        assert_eq!(verdict(Some(spegel), rejected, None).0, Some(Cause::HostsForeign));
        let refuses = |cause| NodeFacts {
            verification: Some(Err((cause, "image verification failed".to_owned()))),
            ..NodeFacts::default()
        };
        let (failed, lost) = (Some(Cause::VerificationFailed), Some(Cause::SignatureLost));
        assert_eq!(verdict(Some(refuses(Cause::VerificationFailed)), None, None), (failed, false));
        assert_eq!(verdict(Some(refuses(Cause::VerificationFailed)), rejected, None), (failed, false));
        assert_eq!(verdict(Some(refuses(Cause::VerificationFailed)), lost, None), (lost, false));
        let denied = Cause::VerificationDenied;
        assert_eq!(verdict(Some(refuses(denied)), lost, None).0, Some(denied));
        let elsewhere = verdict(Some(refuses(Cause::ImageMissing)), rejected, None);
        assert_eq!(elsewhere, (rejected, true), "what can be seen from here");
        assert_eq!(verdict(Some(refuses(Cause::ImageMissing)), None, None).0, Some(Cause::ImageMissing));
        let direct = judge(None, &[finding(1, "upstream", None)]);
        assert_eq!(direct.cause, Some(Cause::NoMirror));
    }

    #[test]
    fn settings_that_were_not_rolled_out() {
        let image: Reference = "docker.io/a/b:1".parse().unwrap();
        let of = |url: &str, auth: Auth| {
            let mirror = Mirror { endpoints: vec![Endpoint::new(url, true)], skip_fallback: true };
            Registries {
                mirrors: [("docker.io".to_owned(), mirror)].into(),
                auth: [("h:1".to_owned(), auth), ("elsewhere".to_owned(), Auth::default())].into(),
                ..Registries::default()
            }
        };
        let pair = |password: &str| Auth {
            username: Some("u".to_owned()),
            password: Some(password.into()),
            ..Auth::default()
        };
        let raw = Auth { auth: Some("dTpw".into()), ..Auth::default() };
        let has = of("https://h:1/v2/hub", raw);
        assert_eq!(
            settings_differ(&has, &of("https://h:1/v2/hub", pair("p")), &image),
            None,
            "u:p in base64"
        );
        assert_eq!(
            settings_differ(&has, &of("https://h:1/v2/hub", pair("new")), &image).unwrap(),
            "the node has other credentials or TLS settings for h:1"
        );
        assert_eq!(
            settings_differ(&has, &of("https://h:1/v2/other", pair("p")), &image).unwrap(),
            "the node has https://h:1/v2/hub without a fallback, the inventory gives https://h:1/v2/other without a fallback"
        );
    }
}
