use crate::image::Repository;
use crate::oci::protocol::Method;
use crate::oci::protocol::Range;

/// What is asked of a registry.
#[derive(Clone, Debug)]
pub struct RegistryRequest<'a> {
    /// GET or HEAD.
    pub method: Method,
    /// What of it; [`None`] is whether it is there.
    pub object: Option<(&'a Repository, &'a str)>,
    /// The query of the URL.
    pub query: Vec<(String, String)>,
    /// Media types that will do.
    pub accept: Option<&'a str>,
    /// A part of it.
    pub part: Option<(Range, Option<String>)>,
    /// What becomes of the connection.
    pub connection: AfterAnswer,
    /// Whether the one who asks can decode what comes.
    pub decodes: Decodes,
}

/// Whether the one who asks can decode what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decodes {
    /// What comes encoded is an error.
    Nothing,
    /// Gzip.
    Gzip,
}

/// What becomes of a connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterAnswer {
    /// It is there for the next request.
    Keep,
    /// It is closed.
    Close,
}

impl<'a> RegistryRequest<'a> {
    /// Asks for something in a repository, such as `manifests/latest`.
    pub fn new(method: Method, repository: &'a Repository, what: &'a str) -> Self {
        Self { object: Some((repository, what)), ..Self::of(method) }
    }

    /// Asks whether a registry is there, and admits us.
    pub fn ping() -> Self {
        Self::of(Method::Get)
    }

    fn of(method: Method) -> Self {
        let connection = AfterAnswer::Keep;
        let decodes = Decodes::Nothing;
        Self { method, object: None, query: Vec::new(), accept: None, part: None, connection, decodes }
    }

    /// Adds a parameter to the query of the URL.
    #[must_use]
    pub fn with_query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Says which media types will do.
    #[must_use]
    pub fn accepting(mut self, accept: &'a str) -> Self {
        self.accept = Some(accept);
        self
    }

    /// Asks for a part, if the object still has this entity tag.
    #[must_use]
    pub fn part(mut self, range: Range, etag: Option<String>) -> Self {
        self.part = Some((range, etag));
        self
    }

    /// Takes what comes as gzip, too.
    #[must_use]
    pub fn decoding_gzip(mut self) -> Self {
        self.decodes = Decodes::Gzip;
        self
    }

    /// Has the connection closed after the answer.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.connection = AfterAnswer::Close;
        self
    }
}

/// How a registry gave access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// It asked for nothing.
    Open,
    /// It gives tokens to anyone.
    Anonymous,
    /// It took the credentials.
    Credentials,
}

/// How a registry gave access, and where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedIn {
    /// How.
    pub login: Login,
    /// The endpoint of another origin that the configured one redirects to, as it would be configured.
    pub leads_to: Option<String>,
}

impl Login {
    /// Returns the word for tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Anonymous => "anonymous",
            Self::Credentials => "credentials",
        }
    }
}
