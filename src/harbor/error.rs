use crate::oci::{ClientError, HttpError, RemoteError, RequestError};

/// Something that a Harbor was asked for and did not do.
#[derive(Debug, thiserror::Error)]
pub enum HarborError {
    /// The client cannot be made.
    #[error("cannot set up the connection to Harbor")]
    Setup(#[from] HttpError),
    /// The URL is not one of a Harbor.
    #[error("`{url}` is not a valid URL of a Harbor")]
    Url {
        /// The URL, without credentials.
        url: String,
    },
    /// The URL brings a user or a password with it, and would be shown.
    #[error("the URL `{url}` is written with a user name or a password in it")]
    Userinfo {
        /// The URL, without them.
        url: String,
    },
    /// A list does not end.
    #[error("cannot {doing}: the list of {url} does not end: {why}")]
    Endless {
        /// What was asked for.
        doing: String,
        /// What was asked.
        url: String,
        /// What shows it.
        why: String,
    },
    /// No answer came.
    #[error("cannot {doing}")]
    Request {
        /// What was asked for.
        doing: String,
        /// What happened; names the URL.
        source: ClientError,
    },
    /// The answer is a refusal.
    #[error("cannot {doing}: {url} answered {status}{}", after_colon(.said))]
    Answer {
        /// What was asked for.
        doing: String,
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
        /// What Harbor says about it.
        said: Vec<RemoteError>,
        /// What Harbor's own log has it under.
        request_id: Option<String>,
        /// Where it leads, for a redirect.
        location: Option<String>,
    },
    /// The answer cannot be read.
    #[error("cannot {doing}: the answer of {url} is not what Harbor answers")]
    Unreadable {
        /// What was asked for.
        doing: String,
        /// What was asked.
        url: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The account is not admitted.
    #[error("Harbor does not take the password of `{user}`")]
    Login {
        /// The account.
        user: String,
        /// How users log in to this Harbor.
        auth_mode: String,
    },
    /// Harbor keeps its version to itself.
    #[error("{url} does not tell its version")]
    NoVersion {
        /// What was asked.
        url: String,
    },
}

/// What a refusal means for what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Another process was faster: what is there has to be read again.
    Raced,
    /// It is not there.
    NotFound,
    /// The account may not do it.
    Forbidden,
    /// This one thing cannot be done; others may.
    Alone,
    /// Nothing more can be asked for.
    Fatal,
}

fn after_colon(said: &[RemoteError]) -> String {
    said.iter().map(|error| format!(": {} {}", error.code, error.message).trim_end().to_owned()).collect()
}

impl HarborError {
    /// Returns what a refusal means.
    ///
    /// Of 8 creations of one object at once seven are 409, or 400 with that code before 2.14; of 8 schedules at once some
    /// are 404 `execution N not found` (both seen on 2.15.2).
    pub fn refused(&self) -> Refused {
        match self {
            Self::Answer { status: 409, .. } => Refused::Raced,
            Self::Answer { said, .. } if said.iter().any(|error| error.code == "CONFLICT") => Refused::Raced,
            Self::Answer { status: 404, said, .. } if said.iter().any(is_lost_execution) => Refused::Raced,
            Self::Answer { status: 404, .. } => Refused::NotFound,
            Self::Answer { status: 403, .. } if self.is_read_only() => Refused::Fatal,
            Self::Answer { status: 403, .. } => Refused::Forbidden,
            Self::Answer { status: 401, .. } => Refused::Fatal,
            Self::Answer { .. } => Refused::Alone,
            Self::Setup(_)
            | Self::Url { .. }
            | Self::Userinfo { .. }
            | Self::Endless { .. }
            | Self::Request { .. }
            | Self::Unreadable { .. }
            | Self::Login { .. }
            | Self::NoVersion { .. } => Refused::Fatal,
        }
    }

    /// Returns whether Harbor as a whole refuses changes.
    fn is_read_only(&self) -> bool {
        self.says("read only") || self.says("read-only")
    }

    fn says(&self, words: &str) -> bool {
        let Self::Answer { said, .. } = self else { return false };
        said.iter().any(|error| error.message.contains(words))
    }

    /// Returns what to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Setup(_) => return None,
            Self::Url { .. } => "write it as https://HOST, without a path: container clients ask /v2/ of a host".to_owned(),
            Self::Userinfo { .. } => {
                "leave them out, and set HARBOR_USERNAME and HARBOR_PASSWORD, or the mirror's `admin` in the inventory"
                    .to_owned()
            }
            Self::Endless { .. } => {
                "check what stands between here and Harbor: it has to pass `page` and `page_size` of the query".to_owned()
            }
            Self::Request { source, .. } => match &source.cause {
                RequestError::Tls(_) => "if Harbor has a CA of its own, name it in the mirror's `tls: {caFile: …}`".to_owned(),
                cause => cause.help()?.to_owned(),
            },
            Self::Answer { status: 301 | 302 | 307 | 308, location: Some(location), .. } => {
                format!("it leads to {location}: write that host and scheme to the mirror's `url`")
            }
            Self::Answer { status, said, .. } if said.is_empty() || *status == 404 => {
                "check the mirror's `url`: is it a Harbor, at the root of its host?".to_owned()
            }
            Self::Answer { status: 400, .. } if self.says("unhealthy") => {
                "Harbor asks an upstream before it takes it: it needs DNS, a way out (its own HTTPS_PROXY) and valid \
                 credentials"
                    .to_owned()
            }
            Self::Answer { status: 400, .. } if self.says("unsupported registry type") => {
                "leave `harbor.adapter` of the registry out".to_owned()
            }
            Self::Answer { status: 403, .. } if self.is_read_only() => {
                "switch read-only mode off in Harbor's settings".to_owned()
            }
            Self::Answer { status: 403, .. } if self.says("CSRF") => {
                "a proxy adds a cookie to requests: let it pass /api/ as it is".to_owned()
            }
            Self::Answer { status: 403, .. } if self.says("permission scope") => {
                "a robot gives no more than it has: the one that sets Harbor up needs pull on all projects".to_owned()
            }
            Self::Answer { status: 403, .. } => {
                "use an administrator, or a system robot that may create registries, projects and robots".to_owned()
            }
            Self::Answer { status: 500.., request_id, .. } => {
                let log = request_id.as_ref().map(|id| format!(" (core's log has it under {id})"));
                format!(
                    "is jobservice running? Without it Harbor makes no proxy project and no schedule{}",
                    log.unwrap_or_default()
                )
            }
            Self::Answer { .. } => return None,
            Self::Unreadable { .. } => "check the mirror's `url`, and what stands between here and Harbor".to_owned(),
            Self::Login { auth_mode, .. } if auth_mode == "oidc_auth" => {
                "this Harbor logs users in through OIDC: give the CLI secret of the user's profile, or a system robot"
                    .to_owned()
            }
            Self::Login { .. } => {
                "set HARBOR_USERNAME and HARBOR_PASSWORD, or the mirror's `admin` in the inventory".to_owned()
            }
            Self::NoVersion { .. } => {
                "check the mirror's `url`: is it a Harbor? What stands before it has to pass the Authorization header"
                    .to_owned()
            }
        })
    }
}

fn is_lost_execution(error: &RemoteError) -> bool {
    error.message.starts_with("execution ") && error.message.ends_with(" not found")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &str, message: &str) -> HarborError {
        HarborError::Answer {
            doing: "create registry `up`".into(),
            url: "https://h.example/api/v2.0/registries".into(),
            status,
            said: vec![RemoteError { code: code.into(), message: message.into() }],
            request_id: None,
            location: None,
        }
    }

    #[test]
    fn what_a_refusal_means() {
        for (status, code, message, want) in [
            (409, "CONFLICT", "registry up already exists", Refused::Raced),
            (400, "CONFLICT", "it is there", Refused::Raced),
            (404, "NOT_FOUND", "execution 12 not found", Refused::Raced),
            (404, "NOT_FOUND", "project nope not found", Refused::NotFound),
            (403, "DENIED", "The system is in read only mode.", Refused::Fatal),
            (403, "FORBIDDEN", "forbidden", Refused::Forbidden),
            (401, "UNAUTHORIZED", "unauthorized", Refused::Fatal),
            (500, "UNKNOWN", "internal server error", Refused::Alone),
        ] {
            assert_eq!(answer(status, code, message).refused(), want, "{status} {message}");
        }
        assert_eq!(
            answer(400, "BAD_REQUEST", "the registry is unhealthy").to_string(),
            "cannot create registry `up`: https://h.example/api/v2.0/registries answered 400: BAD_REQUEST the registry \
             is unhealthy"
        );
    }
}
