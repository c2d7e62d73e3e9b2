/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; `--deny warnings` lets it pass.
    Note,
    /// Likely wrong.
    Warning,
    /// Wrong.
    Error,
}

impl Severity {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

macro_rules! codes {
    ($($name:ident = $text:literal, $severity:ident, $title:literal, $explanation:literal;)*) => {
        /// A rule that a file may break, by the code that users quote.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $title] $name,)*
        }

        impl Code {
            /// Every code, in order.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Returns the code, such as `E101`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Returns how much it matters.
            pub fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }

            /// Returns the rule in one line.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// Returns why the rule is there and what to do.
            pub fn explanation(self) -> &'static str {
                match self { $(Self::$name => $explanation,)* }
            }
        }
    };
}

codes! {
    Syntax = "E100", Error, "the file is not YAML",
        "The text cannot be read at the place shown: a tab in the indentation, a key twice, an open quote or bracket, \
         or nothing at all. Of two equal keys most tools take the last one in silence; talmirror takes neither.";
    UnknownField = "E101", Error, "a field that does not exist",
        "Unknown fields are errors, because a misspelt one would change nothing and say nothing. Fields that begin \
         with `x-` are yours and are never read.";
    UrlScheme = "E102", Error, "a URL that is not http or https",
        "Mirrors and upstreams are URLs such as https://harbor.example. Talos refuses anything else in documents, and \
         accepts it in legacy config without ever reaching it.";
    UrlHasPath = "E103", Error, "a path in the URL of a mirror whose kind derives it",
        "For the kinds harbor, path, plain and cache the path is derived: leave it out of `url`. For a URL that must be \
         used as it stands there is kind raw.";
    UnknownMirror = "E104", Error, "a mirror that is not defined",
        "`via` names mirrors of `mirrors`, or `upstream` for the registry itself.";
    CannotServe = "E105", Error, "a mirror that cannot serve this registry",
        "A Harbor needs one project for each registry, so it cannot stand behind `*`; a mirror with `serves` serves \
         only those. `*` takes a mirror that looks at the `ns` of a request: kind cache.";
    NoEndpoint = "E106", Error, "no fallback and no endpoint",
        "With `fallback: never` and nothing in `via` Talos' own pulls fail while pods' pulls still go to the upstream: \
         the two pullers disagree, and neither does what was meant.";
    TlsOnHttp = "E107", Error, "TLS settings for a plain http URL",
        "Talos refuses every pull through such an endpoint: `TLS config specified for non-HTTPS registry` \
         (siderolabs/talos#10450, where a cluster died of it).";
    HostConflict = "E108", Error, "two different settings for one host",
        "Talos keeps credentials and TLS by host and port, so two mirrors on one host share them; the second would \
         overwrite the first.";
    AuthForms = "E109", Error, "credentials that are not in exactly one form",
        "Talos takes username and password, or auth, or identityToken: one of them, whole.";
    TwoSources = "E110", Error, "a secret given twice",
        "A secret stands in the file (`password`) or is fetched (`passwordFrom`), not both.";
    BadPem = "E111", Error, "text that is not PEM",
        "A CA and a client certificate are PEM texts, `-----BEGIN CERTIFICATE-----` and so on; Talos validates them \
         when the config is applied, and a wrong one stops every pull from that host.";
    AliasCredentials = "E112", Error, "credentials under a key that is never looked up",
        "Talos finds credentials by the host of the endpoint's URL. Docker Hub's is registry-1.docker.io, and a mirror's \
         is the mirror's own: credentials under docker.io are used by no puller of Talos itself, in no version.";
    RegistryName = "E113", Error, "a registry name that no image reference has",
        "Registries are named as image references name them: lower case, host and perhaps port, no scheme, no path; \
         Docker Hub is docker.io.";
    ProjectName = "E114", Error, "a Harbor project name that Harbor refuses",
        "Project names are lower case letters and digits, parted by single `.`, `_` or `-`, at most 255 characters. A \
         registry with a port needs one of its own: `projects: {\"host:5000\": host-5000}`.";
    UnknownNode = "E115", Error, "a node or group that is not defined, or defined twice",
        "Groups and the rollout name nodes of `nodes`; an address belongs to one node.";
    CannotDecrypt = "E116", Error, "an encrypted inventory that cannot be opened",
        "The file is encrypted with SOPS. talmirror looks for identities where sops does: SOPS_AGE_KEY, \
         SOPS_AGE_KEY_FILE, SOPS_AGE_KEY_CMD, the SSH key files, and sops/age/keys.txt in the configuration directory.";
    TryTimeout = "E117", Error, "a trial shorter than its verification",
        "While a node tries a config, every image of `verify.images` is pulled. If that can take longer than \
         `rollout.tryTimeout`, Talos takes the config back in the middle of it.";
    ClientIdentity = "E118", Error, "half a client identity",
        "A client certificate needs its key, and a key its certificate.";
    PlaintextInGit = "E119", Error, "plaintext secrets in a work tree",
        "One `git add` would make them public. Encrypt the output (`--encrypt`), write to standard output, or name \
         `--allow-plaintext`.";
    JsonPatchDocuments = "E120", Error, "a JSON patch for a config of several documents",
        "Talos applies JSON patches to single-document configs only, and everything generated since 1.12 has more than \
         one document. Use strategic or documents.";
    NeedsNewerTalos = "E121", Error, "something that this Talos version does not know",
        "Registry documents exist since Talos 1.12, skipFallback since 1.9. An older node refuses the whole config.";
    PathWithoutOverride = "E123", Error, "an endpoint path without overridePath",
        "Talos appends /v2 to a path that does not end with it: /v2/project becomes /v2/project/v2, where no registry \
         answers. A path without /v2, such as Nexus' /repository/docker, is right as it is.";
    OverrideWithoutPath = "E124", Error, "overridePath on a bare host",
        "With overridePath Talos uses the path as it is, and there is none: /v2 is lost.";
    OverrideWithoutV2 = "E125", Error, "overridePath with a path without /v2",
        "Such a path often belongs to a web portal, which answers 200 with a page. Talos takes that for an answer, \
         and the fallback is never tried.";
    Template = "E126", Error, "a template that has not been rendered",
        "The file is the source of another tool. Render it first; talmirror does not guess what it will say.";
    Rewrite = "E127", Error, "a k3s rewrite that Talos cannot express",
        "Talos has no rewrite. `(.*)` to `prefix/$1` becomes a path; anything else has no equivalent.";
    WrongType = "E128", Error, "a value of the wrong type",
        "The field takes another kind of value, or one of a few words.";
    MissingField = "E129", Error, "a field that is missing",
        "The field has no default, because a wrong guess would cost more than a question.";
    InClusterNever = "W201", Warning, "no fallback for a mirror that runs in this cluster",
        "When the nodes that run the mirror restart, its images come through the mirror that is not there yet. Keep \
         `fallback: upstream`.";
    RedundantUpstream = "W202", Warning, "an endpoint that Talos appends itself",
        "With fallback on, the upstream is tried last anyway; listing it makes failing pulls try it twice.";
    NotARegistry = "W203", Warning, "an endpoint that serves no registry API",
        "docker.io and hub.docker.com are web sites. Docker Hub's API is https://registry-1.docker.io.";
    PlainHttpCredentials = "W204", Warning, "credentials over plain http",
        "Everyone on the way reads them.";
    UnverifiedCredentials = "W205", Warning, "credentials for a host whose certificate is not checked",
        "With insecureSkipVerify anyone on the way can ask for them. Give the CA instead: `tls: {caFile: …}`.";
    DefaultPort = "W206", Warning, "the scheme's own port in a URL",
        "Talos compares hosts as text: credentials for h:443 are not found for h. talmirror writes both the same way, \
         other tools may not.";
    FrozenRegistry = "W209", Warning, "a registry that is frozen",
        "k8s.gcr.io gets no images since April 2023; registry.k8s.io has them.";
    AnonymousHub = "W210", Note, "Docker Hub without credentials",
        "When the mirror is down, pulls go to Docker Hub anonymously, and its limit counts per address: all nodes behind \
         one NAT share it.";
    SeveralGroups = "W213", Warning, "a node whose groups disagree",
        "Two groups of the node set the same registry. The later group wins.";
    DollarName = "W214", Warning, "a `$` in a file that another tool expands",
        "Harbor's robot names hold a `$`. envsubst, talhelper and the like take what follows for a variable.";
    UncoveredSecret = "W218", Warning, "a SOPS rule that leaves a secret in clear",
        "The creation rule that matches this path does not select every secret field; what it does not select is \
         committed as it is. The finding names a rule that selects every secret of registries.";
    WideRule = "W219", Warning, "a SOPS rule that encrypts more than secrets",
        "An unanchored rule also matches `passwordFrom`, so that the reference itself is encrypted, or whole maps whose \
         diff that is hard to read.";
    WildcardNever = "W220", Warning, "no fallback behind `*`",
        "Every registry that has no entry of its own depends on this mirror alone.";
    ClusterName = "W222", Warning, "an endpoint whose name only pods can resolve",
        "Images are pulled by the node, and its resolver does not know the names of services, such as \
         registry.kube-system.svc.cluster.local: each pull waits for the name first. Give the mirror a name or an address \
         that the nodes reach.";
    MixedOverride = "W224", Warning, "one overridePath for endpoints that need different ones",
        "Legacy config has one overridePath for a whole mirror. Documents have one for each endpoint, and so does the \
         inventory.";
    UnusedKey = "W225", Warning, "credentials or TLS for a host that no endpoint names",
        "Talos looks them up by the endpoint's host and port, exactly as the URL has them.";
    Reference = "W226", Warning, "a variable in place of a value",
        "The value is filled in by another tool. talmirror keeps it as an environment reference where it can.";
    UnreachableName = "W227", Warning, "a mirror name that no image reference yields",
        "An image reference begins with a registry only if its first part has a dot or a port.";
    ForeignUpstream = "W228", Warning, "an endpoint that belongs to another registry",
        "A mirror of Docker Hub does not have quay.io's images.";
    EmptyTls = "W229", Warning, "TLS settings that set nothing",
        "An empty or misspelt block changes nothing, and for a host without a mirror it makes `*` pass it by.";
    NoRegistry = "W232", Warning, "an inventory that names no registry",
        "The inventory is the whole truth about registries: what it does not name goes. One that names nothing makes \
         patches that remove everything.";
    Dropped = "W230", Warning, "something that the inventory does not keep",
        "It has no meaning for registries, or Talos has no equivalent.";
    NearName = "W233", Warning, "a registry name next to a known one",
        "The name differs from that of a public registry by one letter. Images of the public one do not go through this \
         entry.";
    ClearInGit = "W234", Warning, "a secret in clear in a file that git tracks",
        "Who can read the repository can read the secret, and its history keeps it. Encrypt the file with `talmirror encrypt \
         --in-place`, change the secret, or fetch it with `passwordFrom`.";
    RedactedSecret = "W235", Warning, "a secret that reads as if it had been hidden",
        "`<redacted>`, `REDACTED` and asterisks are what tools print in the place of a secret. Talos would send them as they \
         stand, and the registry would refuse every pull.";
    NodeFile = "W236", Warning, "a file that lies on a node",
        "The source names a file of the machine it was written for. The inventory reads files beside itself: copy it there.";
    NeverUsed = "W237", Warning, "credentials that no pull uses",
        "No registry goes through the mirror, or the registry's own host is never asked. Nodes would hold a secret for \
         nothing.";
    ChangedSealed = "W238", Warning, "an encrypted file that was changed after it was sealed",
        "The MAC does not fit, or clear parts stand where they did not when the secrets beside them were sealed. Commands that \
         send or write secrets refuse the file. Compare it with your history; if every change is yours, `talmirror seal FILE` \
         seals it again.";
    ImportFault = "E135", Error, "an import that changed what its source says",
        "The inventory was resolved again and gives a node other endpoints, credentials or TLS settings than the source did, and no other finding says so. This is a fault of talmirror: \
         please report it with the structure of the source, without its secrets.";
    DuplicateDocument = "E130", Error, "a registry document that is there twice",
        "Talos refuses a config with two documents of one kind and name.";
    DuplicateEndpoint = "E131", Error, "an endpoint that is listed twice",
        "Two equal endpoints make containerd's hosts.toml invalid. It then pulls from the upstream only, even where the \
         fallback is off, and logs one line about it.";
    BadName = "E132", Error, "a name that cannot be a directory's",
        "Nodes and groups get a directory of their own below --output-dir: letters, digits, `.`, `_`, `-`, `:`, and not \
         `.` or `..`. A group cannot be named `base`: that is where nodes without a group find theirs.";
    SharedProject = "E133", Error, "two registries in one Harbor project",
        "A proxy project of Harbor passes on the images of one registry. The images of the other would be looked for there, \
         and not found.";
    HarborSetting = "E134", Error, "a setting that Harbor refuses",
        "Robots and projects are named with lower case letters and digits, parted by single `.`, `_` or `-`; schedules are \
         cron lines of six fields, seconds first.";
    UnknownUpstream = "E140", Error, "an upstream that is not served",
        "`default` of a cache's configuration names one of its `upstreams`: the registry that is meant where a request \
         names none, as Docker's `registry-mirrors` do.";
    NoClientMayRead = "W240", Warning, "an upstream whose content no client may read",
        "Content that takes credentials goes to users of the cache only, so that the cache opens nothing that its \
         upstream keeps shut. Without users (`htpasswd`) that is not a client; `anonymous: true` says that it may go to anyone.";
    LosesSignatures = "W241", Warning, "a mirror without a fallback that may lose signatures",
        "A rule of `imageVerification` wants signatures, and Talos 1.13 and later looks them up through the mirrors. One that does \
         not pass them on makes every such pull fail: Harbor passes referrers on from 2.16, distribution does not up to 3.1.2. \
         `talmirror verify IMAGE` sees what a mirror passes on.";
    NeverRedirected = "W242", Warning, "an upstream for which no client is sent to the bucket, though it is configured",
        "An address in the bucket is good for whoever has it until it expires, also for those whom the cache gives nothing. So \
         clients are sent there only for content that is anyone's: not where the upstream is asked with credentials, headers or a \
         certificate (`anonymous` lets those have it who reach the cache, not those who reach the bucket), nor where all clients \
         have to say who they are.";
    ReplacesAll = "W231", Warning, "a patch that replaces all registries",
        "`add` and `replace` of /machine/registries put this value in place of what is there: other mirrors, credentials \
         and TLS settings are gone.";
}

impl Code {
    /// Finds a code by its text, in any case.
    pub fn find(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str().eq_ignore_ascii_case(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_their_letter_says_their_severity() {
        for (at, code) in Code::ALL.iter().enumerate() {
            assert_eq!(Code::ALL.iter().position(|other| other.as_str() == code.as_str()), Some(at));
            let letter = if code.severity() == Severity::Error { 'E' } else { 'W' };
            assert!(code.as_str().starts_with(letter), "{}", code.as_str());
            assert_eq!(Code::find(&code.as_str().to_lowercase()), Some(*code));
        }
    }
}
