macro_rules! causes {
    ($($name:ident = $code:literal, $title:literal, $explanation:literal;)*) => {
        /// Why a hop of a pull does not serve an image, by the code that users quote.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Cause {
            $(#[doc = $title] $name,)*
        }

        impl Cause {
            /// Every cause, in order.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Returns the code, such as `V301`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// Returns the cause in one line.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// Returns what it means for pulls, and what to do.
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$name => $explanation,)* }
            }
        }
    };
}

causes! {
    NameUnresolved = "V301", "the name of the host has no address",
        "The name cannot be looked up from where it was asked. containerd goes to the next host at once, so that pulls \
         look green while nothing comes through the mirror. Check the name, and the DNS servers of the nodes: they may \
         differ from this machine's.";
    Unreachable = "V302", "no connection to the host",
        "Nothing answers at the address and port: the server is down, a firewall is in between, or the port is another \
         one. A host that drops packets costs every pull up to 30 seconds before the next host is tried.";
    TlsUntrusted = "V303", "the certificate's authority is not trusted",
        "The server's certificate is signed by an authority that the client does not know. Give it to the nodes: \
         `tls: {caFile: …}` of the mirror in the inventory.";
    TlsName = "V304", "the certificate is for another name",
        "The server shows a certificate that does not name the host of the URL. Use a name that it has, or issue one \
         for this name.";
    TlsExpired = "V305", "the certificate is not valid now",
        "It has expired, or is not valid yet; or the clock of the side that checks is wrong.";
    TlsFailed = "V306", "no agreement about TLS",
        "The two sides do not speak the same: an http server behind an https URL, a proxy in between, or a client \
         certificate that the server wants.";
    CredentialsRejected = "V307", "the credentials are rejected",
        "The registry, or its token server, does not accept them: a wrong or expired password or token, a disabled \
         robot account. A wrong password on a mirror is silent: containerd goes to the next host, and everything looks \
         green until the day upstream is gone.";
    CredentialsMissing = "V308", "the host wants credentials and gets none",
        "Anonymous access is not allowed. Give the mirror `credentials`; their key is the endpoint's host.";
    AccessDenied = "V309", "the account may not pull this",
        "The credentials are accepted, and do not allow it; many registries say the same of what is not there. Or the host \
         refuses without asking for credentials: clients show them only where it does. On \
         Harbor: does the robot account have the pull permission on the project?";
    TokenServer = "V310", "the token server does not give a token",
        "The registry refers to a token server that fails, or that is not asked because it is at an address that has \
         nothing to do with the registry.";
    WebPage = "V311", "a web page where a manifest should be",
        "The URL answers 200, with something that is not a manifest: a portal or a login page. containerd takes any 2xx \
         for an answer, so that the pull fails there and no other host is tried. The path is likely wrong: see \
         `overridePath`.";
    NotARegistry = "V312", "the host is not a registry",
        "docker.io and hub.docker.com are web sites; Docker Hub's API is at registry-1.docker.io. Talos and containerd \
         translate the name only where they add the upstream by themselves; an endpoint is used as it is written.";
    PathUnknown = "V313", "the registry does not know this path",
        "The host is a registry, and nothing is served under the endpoint's path: the project or the proxy repository \
         is missing, or is called otherwise.";
    ImageMissing = "V314", "the image is not there",
        "The registry answers that it has no such manifest. For a mirror that pulls through: it may not reach its \
         upstream, or the image is gone there too.";
    BlobMissing = "V315", "a layer is missing behind a good manifest",
        "The manifest is served and a blob that it names is not. containerd fetches only that blob from the next host; \
         podman and CRI-O fail the pull.";
    BlobDamaged = "V316", "a layer is not what the manifest says",
        "The size or the bytes differ from what the manifest says. containerd ends the pull with `unexpected commit \
         digest`, and tries no other host.";
    RateLimited = "V317", "the host limits requests",
        "It answers 429. containerd repeats such a request at once, five times and more, before it goes on. Docker Hub \
         counts pulls by account or address; give credentials, or wait.";
    ServerFails = "V318", "the server fails",
        "It answers with an error of its own. containerd goes to the next host; on the last one it tries once more.";
    RedirectRefused = "V319", "a redirect that is not followed",
        "It leads nowhere, from https to http, or in a circle; or it is a 304, which nothing was asked for. What containerd cannot follow ends the pull: no other \
         host is tried.";
    SignatureLost = "V320", "signatures are lost on the way",
        "Upstream has signatures of the image and this host does not pass them on. Talos 1.13 and later look them up \
         through the mirrors where `ImageVerificationConfig` asks for them: with `fallback: never` every such pull \
         fails, with a fallback each look-up goes around the mirror. Harbor passes referrers on from 2.16, distribution \
         does not up to 3.1.2.";
    QuotaLow = "V321", "little is left of the pull quota",
        "Docker Hub says how many pulls are left; when none are, it answers 429 until the window is over. Give \
         credentials, or let a mirror serve what it has.";
    TooSlow = "V322", "the answer takes too long",
        "containerd from 2.3 on gives up after 30 seconds without a header, and goes to the next host; before, it waits.";
    AnswerInvalid = "V323", "an answer that cannot be used",
        "What came is not what the protocol says: a manifest that cannot be read, without a digest, or broken off.";
    HostsForeign = "V330", "another program stands before the mirrors",
        "Hosts that Talos did not write stand in containerd's directory on the node, as Spegel puts them there: pulls ask \
         them first, and the mirrors only where they fail.";
    NotRolledOut = "V331", "the node has other mirrors than the inventory",
        "The mirrors of the image's registry on the node are not those that the inventory gives. `talmirror diff` shows \
         how they differ, `talmirror rollout` changes them.";
    VerificationFailed = "V332", "the node does not find the signature that it wants",
        "A rule of the node's `ImageVerificationConfig` wants the image signed, and the node finds no valid signature: \
         every pull of it ends with PermissionDenied. Signatures are looked up through the mirrors, so that one that \
         loses them ends pulls, too (V320); or the rule names another key or identity than the signer's. Rules without a \
         key need the internet on the node.";
    NameUnresolvedOnNode = "V333", "the node cannot look up the host",
        "The name is known here and not on the node: its DNS servers are others. Talos takes those of \
         `machine.network.nameservers`, or of DHCP.";
    ClockSkew = "V334", "the node's clock is not set",
        "Talos says that the node's time is not synchronised. Certificates and tokens are checked against it: both fail \
         where it is minutes off. Check that the node reaches its time servers (`machine.time.servers`).";
    VerificationDenied = "V335", "a rule of the node denies the image",
        "A rule of the node's `ImageVerificationConfig` with `deny` matches the image: no pull of it is let through. The \
         first rule that matches counts; `talmirror explain IMAGE` shows that of the inventory.";
    NodeUnreachable = "V336", "the node does not answer",
        "Its API cannot be reached or denies access, so that nothing is known of what the node does.";
    NoMirror = "V338", "no mirror serves the registry",
        "There is no entry and no `*` for it: nodes go to the registry itself.";
}

impl Cause {
    /// Finds a cause by its code.
    pub fn find(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|cause| cause.as_str().eq_ignore_ascii_case(code))
    }

    /// Returns whether pulls still work: it is told, and is not a failure.
    pub const fn is_warning(self) -> bool {
        matches!(self, Self::SignatureLost | Self::QuotaLow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_in_order() {
        let codes: Vec<&str> = Cause::ALL.iter().map(|cause| cause.as_str()).collect();
        assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
        assert_eq!(Cause::find("v307"), Some(Cause::CredentialsRejected));
        assert_eq!(Cause::find("V999"), None);
    }
}
