use crate::image::RegistryHost;
use crate::oci::Refusal;

/// Why a request was not served; among the extensions of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The reason, for operators.
    pub text: String,
    /// The registry that the request was for, where that is known.
    pub upstream: Option<RegistryHost>,
    /// What kind of reason it is.
    pub kind: ReasonKind,
}

/// What kind of reason a request was not served for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasonKind {
    /// The configuration says so.
    Policy,
    /// The registry limits requests: the text says for how many seconds more.
    Limited,
    /// Another one.
    Other,
}

impl Reason {
    /// Returns the reason of a refusal.
    pub fn of(refusal: &Refusal) -> Self {
        let (text, upstream) = match refusal {
            Refusal::Method => ("only GET and HEAD are served".to_owned(), None),
            Refusal::NotServed => ("nothing is served under this path".to_owned(), None),
            Refusal::Request(problem) => ((*problem).to_owned(), None),
            Refusal::NameInvalid(name) => (format!("invalid repository name {name}"), None),
            Refusal::DigestInvalid(digest) => (format!("invalid digest {digest}"), None),
            Refusal::NameUnknown(name) => (format!("no upstream is configured for {name}"), None),
            Refusal::RepositoryUnknown(name) => (format!("repository unknown: {name}"), None),
            Refusal::ManifestUnknown(reference) => (format!("manifest unknown: {reference}"), None),
            Refusal::BlobUnknown(digest) => (format!("blob unknown: {digest}"), None),
            Refusal::Policy(rule) => (format!("not allowed by configuration: {rule}"), None),
            Refusal::Unauthorized(_) => ("authentication required".to_owned(), None),
            Refusal::UpstreamDenied { registry, hint } => {
                (format!("upstream denied access: {hint}"), Some(registry))
            }
            Refusal::UpstreamBusy { registry, retry_after } => {
                let text = format!("upstream limits requests; again in {} s", retry_after.as_secs().max(1));
                (text, Some(registry))
            }
            Refusal::UpstreamDown { registry, reason } => {
                (format!("upstream is not available: {reason}"), Some(registry))
            }
            Refusal::Overloaded => ("too many requests at once".to_owned(), None),
        };
        let kind = match refusal {
            Refusal::Policy(_) => ReasonKind::Policy,
            Refusal::UpstreamBusy { .. } => ReasonKind::Limited,
            Refusal::Method
            | Refusal::NotServed
            | Refusal::Request(_)
            | Refusal::NameInvalid(_)
            | Refusal::DigestInvalid(_)
            | Refusal::NameUnknown(_)
            | Refusal::RepositoryUnknown(_)
            | Refusal::ManifestUnknown(_)
            | Refusal::BlobUnknown(_)
            | Refusal::Unauthorized(_)
            | Refusal::UpstreamDenied { .. }
            | Refusal::UpstreamDown { .. }
            | Refusal::Overloaded => ReasonKind::Other,
        };
        Self { text, upstream: upstream.cloned(), kind }
    }

    /// Notes which registry the request was for, where the refusal does not say.
    #[must_use]
    pub fn at(self, registry: Option<&RegistryHost>) -> Self {
        Self { upstream: self.upstream.or_else(|| registry.cloned()), ..self }
    }
}
