use std::fmt;

/// What a registry wants before it answers: one challenge of a `WWW-Authenticate` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// A user name and a password with every request.
    Basic {
        /// What for.
        realm: String,
    },
    /// A token from somewhere else.
    Bearer(Bearer),
    /// Something that registries do not use, or a bearer challenge that names no realm; in lower case.
    Other(String),
}

/// Where a token comes from, and for what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bearer {
    /// The URL that gives tokens.
    pub realm: String,
    /// What that URL calls this registry.
    pub service: Option<String>,
    /// What the token has to allow, parted by spaces; some registries leave it out.
    pub scope: Option<String>,
    /// Why the token that came with the request will not do: `invalid_token`, `insufficient_scope`.
    pub error: Option<String>,
}

/// The longest header that is read.
const LONGEST: usize = 16 * 1024;
/// How many challenges, and parameters of each, are read.
const MOST: usize = 32;

impl Challenge {
    /// Reads a `WWW-Authenticate` header: what it says as far as it makes sense, in order.
    ///
    /// Grammar: RFC 9110 §11.6.1, the one in which a comma stands between challenges as well as between parameters.
    pub fn parse_all(header: &str) -> Vec<Self> {
        if header.len() > LONGEST {
            return Vec::new();
        }
        let mut rest = Cursor(header);
        let mut challenges = Vec::new();
        while challenges.len() < MOST {
            rest.skip(&[' ', '\t', ',']);
            if rest.0.is_empty() {
                break;
            }
            let Some(scheme) = rest.token() else {
                rest.skip_junk();
                continue;
            };
            let mut params = Vec::new();
            if rest.0.starts_with([' ', '\t']) {
                rest.blank();
                rest.skip_token68();
                while params.len() < MOST
                    && let Some(param) = rest.param()
                {
                    params.push(param);
                }
            }
            challenges.push(Self::new(scheme, params));
        }
        challenges
    }

    fn new(scheme: &str, params: Vec<(&str, String)>) -> Self {
        let scheme = scheme.to_ascii_lowercase();
        let mut bearer = Bearer::default();
        let mut realm = None;
        for (name, value) in params {
            let slot = match name.to_ascii_lowercase().as_str() {
                "realm" => &mut realm,
                "service" => &mut bearer.service,
                "scope" => &mut bearer.scope,
                "error" => &mut bearer.error,
                _ => continue,
            };
            // RFC 9110 §11.2: a parameter occurs once. The first one counts, so that nothing appended overrides it.
            slot.get_or_insert(value);
        }
        match (scheme.as_str(), realm) {
            ("basic", realm) => Self::Basic { realm: realm.unwrap_or_default() },
            ("bearer", Some(realm)) => Self::Bearer(Bearer { realm, ..bearer }),
            _ => Self::Other(scheme),
        }
    }
}

/// What is left of a header.
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    fn skip(&mut self, what: &[char]) {
        self.0 = self.0.trim_start_matches(what);
    }

    fn blank(&mut self) {
        self.skip(&[' ', '\t']);
    }

    fn take(&mut self, good: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|c| !good(c)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at_checked(end).unwrap_or((self.0, ""));
        self.0 = rest;
        taken
    }

    fn token(&mut self) -> Option<&'a str> {
        Some(self.take(is_token)).filter(|token| !token.is_empty())
    }

    /// Skips what no challenge begins with, up to the next comma outside quotes.
    fn skip_junk(&mut self) {
        while !self.0.is_empty() && !self.0.starts_with(',') {
            if self.quoted().is_none() {
                let mut chars = self.0.chars();
                chars.next();
                self.0 = chars.as_str();
            }
        }
    }

    /// Skips a `token68`, which some schemes have in place of parameters.
    fn skip_token68(&mut self) {
        let before = self.0;
        let word = self.take(|c| c.is_ascii_alphanumeric() || "-._~+/".contains(c));
        let padding = self.take(|c| c == '=');
        let end = self.0.trim_start_matches([' ', '\t']);
        if word.is_empty() || !(end.is_empty() || end.starts_with(',')) {
            self.0 = before;
        } else if padding.is_empty() && !end.is_empty() {
            // `Negotiate x, Basic` and a lone `x,` look the same; either way nothing of it is a parameter.
            self.0 = end;
        }
    }

    /// Takes a parameter; `None`, and nothing taken, where the next challenge begins.
    fn param(&mut self) -> Option<(&'a str, String)> {
        let before = self.0;
        self.skip(&[' ', '\t', ',']);
        let param = self.param_here();
        if param.is_none() {
            self.0 = before;
        }
        param
    }

    fn param_here(&mut self) -> Option<(&'a str, String)> {
        let name = self.token()?;
        self.blank();
        self.0 = self.0.strip_prefix('=')?;
        self.blank();
        let value = match self.quoted() {
            Some(value) => value,
            // Beyond the grammar: values without quotes that hold `:` and `/`, as URLs and scopes do.
            None => self.take(|c| is_token(c) || ":/?=&@%".contains(c)).to_owned(),
        };
        Some((name, value))
    }

    /// Takes a quoted string; one that nothing closes ends with the header.
    fn quoted(&mut self) -> Option<String> {
        let mut chars = self.0.strip_prefix('"')?.chars();
        let mut value = String::new();
        loop {
            match chars.next() {
                None | Some('"') => break,
                Some('\\') => value.extend(chars.next()),
                Some(c) => value.push(c),
            }
        }
        self.0 = chars.as_str();
        Some(value)
    }
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

/// A value in quotes; what cannot stand in a header is left out.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars().filter(|c| !c.is_control()) {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        f.write_str("\"")
    }
}

impl fmt::Display for Challenge {
    /// Prints the challenge as a server sends it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { realm } => write!(f, "Basic realm={}", Quoted(realm)),
            Self::Bearer(bearer) => {
                write!(f, "Bearer realm={}", Quoted(&bearer.realm))?;
                let params =
                    [("service", &bearer.service), ("scope", &bearer.scope), ("error", &bearer.error)];
                for (name, value) in params {
                    if let Some(value) = value {
                        write!(f, ",{name}={}", Quoted(value))?;
                    }
                }
                Ok(())
            }
            Self::Other(scheme) => f.write_str(scheme),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(header: &str) -> Vec<Challenge> {
        Challenge::parse_all(header)
    }

    fn bearer(realm: &str, service: &str, scope: &str) -> Challenge {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Challenge::Bearer(Bearer {
            realm: realm.to_owned(),
            service: some(service),
            scope: some(scope),
            error: None,
        })
    }

    fn basic(realm: &str) -> Challenge {
        Challenge::Basic { realm: realm.to_owned() }
    }

    #[test]
    fn what_registries_send() {
        let hub = "https://auth.docker.io/token";
        for (header, want) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/x:pull""#,
                vec![bearer(hub, "registry.docker.io", "repository:library/x:pull")],
            ),
            (
                r#"Bearer realm="https://public.ecr.aws/token/",service="public.ecr.aws",scope="aws""#,
                vec![bearer("https://public.ecr.aws/token/", "public.ecr.aws", "aws")],
            ),
            (
                r#"Bearer realm="https://quay.io/v2/auth",service="quay.io""#,
                vec![bearer("https://quay.io/v2/auth", "quay.io", "")],
            ),
            (r#"Basic realm="Registry Realm""#, vec![basic("Registry Realm")]),
            (
                r#"Basic realm="https://1.dkr.ecr.eu-central-1.amazonaws.com/",service="ecr.amazonaws.com""#,
                vec![basic("https://1.dkr.ecr.eu-central-1.amazonaws.com/")],
            ),
            ("Basic", vec![basic("")]),
            ("BASIC realm=x", vec![basic("x")]),
            (
                r#"bearer realm = "https://h/t" , scope="repository:a:pull,push repository:b:pull", Basic realm="a, b""#,
                vec![bearer("https://h/t", "", "repository:a:pull,push repository:b:pull"), basic("a, b")],
            ),
            (
                r#"Negotiate, Negotiate YWJj=, NTLM, Basic realm="x", Bearer realm="https://h/t""#,
                vec![
                    Challenge::Other("negotiate".into()),
                    Challenge::Other("negotiate".into()),
                    Challenge::Other("ntlm".into()),
                    basic("x"),
                    bearer("https://h/t", "", ""),
                ],
            ),
            (r"Bearer realm=https://h/t,service=s", vec![bearer("https://h/t", "s", "")]),
            (r#"Basic realm="a\"b\\c""#, vec![basic(r#"a"b\c"#)]),
            (r#"Bearer realm="https://h/t",realm="https://evil/t""#, vec![bearer("https://h/t", "", "")]),
            (r#"Bearer realm="https://h/t"#, vec![bearer("https://h/t", "", "")]),
            (r#"Bearer service="s""#, vec![Challenge::Other("bearer".into())]),
            (r#"=, "x, y", Basic realm="z""#, vec![basic("z")]),
            ("", vec![]),
            (" , ,", vec![]),
        ] {
            assert_eq!(parse(header), want, "{header}");
        }
    }

    #[test]
    fn a_refused_token_says_why() {
        let header = r#"Bearer realm="https://h/t",service="s",scope="repository:a:pull",error="invalid_token",error_description="expired""#;
        let challenges = parse(header);
        let [Challenge::Bearer(bearer)] = challenges.as_slice() else { panic!("{challenges:?}") };
        assert_eq!(bearer.error.as_deref(), Some("invalid_token"));
    }

    #[test]
    fn sizes_are_bounded() {
        assert_eq!(parse(&format!("Basic realm=\"{}\"", "x".repeat(LONGEST))), []);
        assert_eq!(parse(&"a,".repeat(5000)).len(), MOST);
        assert!(parse(&format!("Basic {}", "a=b,".repeat(4000))).len() <= MOST);
    }

    proptest! {
        #[test]
        fn printing_reads_back(realm in "[ -~äé]{1,30}", service in proptest::option::of("[ -~]{0,20}"), scope in proptest::option::of("[ -~]{0,20}")) {
            let challenges = vec![
                Challenge::Bearer(Bearer { realm: realm.clone(), service, scope, error: None }),
                Challenge::Basic { realm },
            ];
            let header = challenges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            prop_assert_eq!(parse(&header), challenges);
        }

        #[test]
        fn never_panics(text in "\\PC{0,60}|([A-Za-z]{1,6} ?|realm|[ =,\"\\\\é\t]){0,30}") {
            for challenge in parse(&text) {
                // The first reading may be of nonsense; what is printed of it reads the same ever after.
                let again = parse(&challenge.to_string());
                prop_assert_eq!(again.len(), 1);
            }
        }
    }
}
