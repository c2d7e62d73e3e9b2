//! Talos' rules for the verification of images, as far as mirrors matter to them; `generate` and `rollout` leave them alone.

use std::ops::Range;

use super::fields::{KEYLESS, PUBLIC_KEY, VERIFICATION_RULE};
use crate::finding::{Code, Decoder, Fields};
use crate::image::{Reference, glob_matches};
use crate::registries::TalosVersion;
use crate::yaml::Node;

/// A rule of `ImageVerificationConfig` (Talos 1.13 and later): of all rules, the first whose pattern matches counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerificationRule {
    /// The pattern of registries and repositories, in which `*` stands for anything.
    pub image: String,
    /// What the rule wants.
    pub method: VerificationMethod,
    /// Where the file has it.
    pub span: Range<usize>,
}

/// What a rule wants of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerificationMethod {
    /// Nothing.
    Skip,
    /// It is never pulled.
    Deny,
    /// A signature by an identity, whose certificate a public log has.
    Keyless,
    /// A signature by a key.
    PublicKey,
}

impl VerificationMethod {
    /// Returns the word that Talos has for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Deny => "deny",
            Self::Keyless => "keyless",
            Self::PublicKey => "publicKey",
        }
    }

    /// Returns whether signatures are looked up, through the mirrors of the image.
    pub const fn wants_signatures(self) -> bool {
        match self {
            Self::Keyless | Self::PublicKey => true,
            Self::Skip | Self::Deny => false,
        }
    }
}

impl VerificationRule {
    /// Returns whether the rule's pattern fits an image; its tag or digest does not matter.
    pub fn matches(&self, image: &Reference, version: &TalosVersion) -> bool {
        let registry = match image.registry() {
            "docker.io" => version.docker_hub_in_rules(),
            registry => registry,
        };
        glob_matches(&self.image, &format!("{registry}/{}", image.repository()))
    }

    /// Returns how much of a registry the rule is about.
    pub(super) fn reach(&self, registry: &str) -> Reach {
        reach(&self.image, registry)
    }
}

/// How much of a registry a pattern is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    Nothing,
    Something,
    Everything,
}

fn reach(pattern: &str, registry: &str) -> Reach {
    let (start, rest) = pattern.find(['*', '?']).map_or((pattern, ""), |at| pattern.split_at(at));
    let registry = format!("{registry}/");
    if rest == "*" && registry.starts_with(start) {
        Reach::Everything
    } else if registry.starts_with(start) && !rest.is_empty() || start.starts_with(&registry) {
        Reach::Something
    } else {
        Reach::Nothing
    }
}

impl Decoder<'_, '_> {
    pub(super) fn verification(&mut self, fields: &Fields<'_>) -> Vec<VerificationRule> {
        let Some(node) = fields.get("imageVerification") else { return Vec::new() };
        if !node.is_sequence() {
            self.wrong_type(node, "imageVerification", "a list of rules");
            return Vec::new();
        }
        let rules = node.items().iter().enumerate();
        rules.filter_map(|(at, item)| self.rule(item, &format!("imageVerification[{at}]"))).collect()
    }

    fn rule(&mut self, node: &Node, path: &str) -> Option<VerificationRule> {
        let fields = self.fields(node, path, VERIFICATION_RULE);
        let image = self.string(&fields, "image");
        if fields.get("image").is_none() {
            self.missing(&fields, "image", "the pattern of the rule");
        }
        let mut methods = Vec::new();
        for (key, method) in [("skip", VerificationMethod::Skip), ("deny", VerificationMethod::Deny)] {
            if self.boolean(&fields, key) == Some(true) {
                methods.push(method);
            }
        }
        if let Some(node) = fields.get("keyless") {
            let own = self.fields(node, &fields.at("keyless"), KEYLESS);
            for key in KEYLESS {
                let _ = self.string(&own, key);
            }
            methods.push(VerificationMethod::Keyless);
        }
        if let Some(node) = fields.get("publicKey") {
            let own = self.fields(node, &fields.at("publicKey"), PUBLIC_KEY);
            let _ = self.string(&own, "certificate");
            methods.push(VerificationMethod::PublicKey);
        }
        let [method] = methods.as_slice() else {
            let message = "a rule has one of `skip`, `deny`, `keyless` and `publicKey`";
            self.problems.add(Code::WrongType, &node.span, path, message);
            return None;
        };
        Some(VerificationRule { image: image?, method: *method, span: node.span.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{Inventory, parse};

    const RULES: &str = "imageVerification:
  - {image: 'ghcr.io/own/dev-*', skip: true}
  - image: ghcr.io/own/*
    publicKey: {certificate: PEM}
  - image: 'registry.k8s.io/*'
    keyless: {issuer: 'https://accounts.google.com', subject: krel-trust@k8s-releng-prod.iam.gserviceaccount.com}
  - {image: '*', deny: true}
";

    fn inventory(more: &str) -> (Inventory, Vec<String>) {
        let text = format!(
            "mirrors: {{h: {{kind: harbor, url: 'https://h.example'}}, c: {{kind: cache, url: 'https://c.example'}}}}\n{more}{RULES}"
        );
        let parsed = parse(&text, "mirrors.yaml", &|_| None);
        let codes =
            parsed.problems.iter().map(|problem| format!("{} {}", problem.code.as_str(), problem.path));
        let codes = codes.collect();
        (parsed.inventory.unwrap_or_else(|| panic!("{:?}", parsed.problems)), codes)
    }

    #[test]
    fn the_first_rule_that_matches() {
        let (inventory, _) = inventory("registries: {ghcr.io: {via: [h]}}\n");
        let method = |image: &str| {
            inventory
                .verification_rule(&image.parse().unwrap(), &TalosVersion::minor(1, 14))
                .map(|rule| rule.method.as_str())
        };
        assert_eq!(method("ghcr.io/own/app:1"), Some("publicKey"));
        assert_eq!(method("ghcr.io/own/dev-app:1"), Some("skip"));
        assert_eq!(method("registry.k8s.io/coredns/coredns:v1"), Some("keyless"));
        assert_eq!(method("alpine:3"), Some("deny"));
        assert!(glob_matches("a?c*", "abcd/e") && !glob_matches("a?c", "abcd") && glob_matches("*", ""));
    }

    #[test]
    fn mirrors_that_lose_signatures() {
        let told = |more: &str| {
            let (_, codes) = inventory(more);
            codes.into_iter().filter(|code| code.starts_with("W241")).collect::<Vec<_>>()
        };
        assert_eq!(told("registries: {ghcr.io: {via: [h], fallback: never}}\n"), ["W241 registries.ghcr.io"]);
        assert_eq!(told("registries: {ghcr.io: {via: [h]}}\n"), [""; 0]);
        assert_eq!(told("registries: {ghcr.io: {via: [c], fallback: never}}\n"), [""; 0]);
        // Nothing of it is to have a signature.
        assert_eq!(told("registries: {quay.io: {via: [h], fallback: never}}\n"), [""; 0]);
    }

    #[test]
    fn rules_that_cannot_be_read() {
        let parsed = parse(
            "registries: [ghcr.io]\nmirror: https://h\nimageVerification: [{image: a, skip: true, deny: true}, {keyless: {}}]\n",
            "m",
            &|_| None,
        );
        let codes: Vec<&str> = parsed.problems.iter().map(|problem| problem.code.as_str()).collect();
        assert!(parsed.inventory.is_none() && codes.len() >= 2, "{codes:?}");
    }
}
