use url::Url;

use super::address_policy::AddressPolicy;

/// How many redirects are followed one after another.
pub const MAX_REDIRECTS: usize = 5;

/// Where a redirect leads, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The next URL. Its query may hold a signature: it must not be logged.
    pub url: Url,
    /// Whether the credentials of the request go along.
    pub credentials: Pass,
}

/// What happens to credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The same origin asks for them again.
    Keep,
    /// Another origin gets none: it would refuse them at best (S3 does) and keep them at worst.
    Strip,
}

/// Why a redirect is not followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedirectRefused {
    /// There were [`MAX_REDIRECTS`] already.
    #[error("too many redirects")]
    TooMany,
    /// The answer does not say where to.
    #[error("the redirect leads to no URL")]
    NoUrl,
    /// It leads from https to http, or to something else altogether.
    #[error("the redirect leads to `{0}`, which is not https")]
    Scheme(String),
    /// It leads to an address that is not one of the internet.
    #[error("the redirect leads to the private address `{0}`")]
    Private(String),
}

/// Returns where a `Location` header leads from a URL, after `before` other redirects.
pub fn follow(
    from: &Url,
    location: Option<&str>,
    before: usize,
    policy: AddressPolicy,
) -> Result<Redirect, RedirectRefused> {
    if before >= MAX_REDIRECTS {
        return Err(RedirectRefused::TooMany);
    }
    let location = location.filter(|location| !location.is_empty()).ok_or(RedirectRefused::NoUrl)?;
    let mut url = from.join(location).map_err(|_| RedirectRefused::NoUrl)?;
    match (from.scheme(), url.scheme()) {
        (_, "https") | ("http", "http") => {}
        (_, scheme) => return Err(RedirectRefused::Scheme(scheme.to_owned())),
    }
    let host = url.host_str().unwrap_or_default().to_owned();
    if host.is_empty() {
        return Err(RedirectRefused::NoUrl);
    }
    // A user name in a URL would become credentials that the redirect chose.
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        return Err(RedirectRefused::NoUrl);
    }
    url.set_fragment(None);
    let same = from.origin() == url.origin();
    if !same && !policy.allows_host(&url) {
        return Err(RedirectRefused::Private(host));
    }
    Ok(Redirect { url, credentials: if same { Pass::Keep } else { Pass::Strip } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_of_registries() {
        let private = |host: &str| Err(RedirectRefused::Private(host.into()));
        let scheme = |scheme: &str| Err(RedirectRefused::Scheme(scheme.into()));
        let to = |url: &str, credentials| Ok(Redirect { url: url.parse().unwrap(), credentials });
        for (from, location, want) in [
            (
                "https://ghcr.io/v2/a",
                "https://cdn.example.com/x?sig=1",
                to("https://cdn.example.com/x?sig=1", Pass::Strip),
            ),
            (
                "https://gcr.io/v2/a/blobs/x",
                "/artifacts-downloads/y",
                to("https://gcr.io/artifacts-downloads/y", Pass::Keep),
            ),
            ("https://gcr.io/v2/a/blobs/x", "y?z", to("https://gcr.io/v2/a/blobs/y?z", Pass::Keep)),
            ("https://gcr.io/v2/a", "https://GCR.io:443/x", to("https://gcr.io/x", Pass::Keep)),
            ("https://gcr.io/v2/a", "https://sub.gcr.io/x", to("https://sub.gcr.io/x", Pass::Strip)),
            ("https://gcr.io/v2/a", "https://gcr.io:8443/x", to("https://gcr.io:8443/x", Pass::Strip)),
            ("https://gcr.io/v2/a", "//cdn.example.com/x", to("https://cdn.example.com/x", Pass::Strip)),
            ("http://127.0.0.1:5000/v2/a", "/x", to("http://127.0.0.1:5000/x", Pass::Keep)),
            ("http://gcr.io/v2/a", "https://gcr.io/x", to("https://gcr.io/x", Pass::Strip)),
            (
                "https://gcr.io/v2/a",
                "https://u:p@cdn.example.com/x#f",
                to("https://cdn.example.com/x", Pass::Strip),
            ),
            ("https://gcr.io/v2/a", "http://gcr.io/x", scheme("http")),
            ("https://gcr.io/v2/a", "file:///etc/passwd", scheme("file")),
            ("https://gcr.io/v2/a", "https://127.0.0.1/x", private("127.0.0.1")),
            ("https://gcr.io/v2/a", "https://169.254.169.254/latest", private("169.254.169.254")),
            ("https://gcr.io/v2/a", "https://10.1/x", private("10.0.0.1")),
            ("https://gcr.io/v2/a", "https://[fd00:ec2::254]/x", private("[fd00:ec2::254]")),
            ("https://gcr.io/v2/a", "https://localhost/x", private("localhost")),
            ("https://gcr.io/v2/a", "https://", Err(RedirectRefused::NoUrl)),
            ("https://gcr.io/v2/a", "", Err(RedirectRefused::NoUrl)),
        ] {
            assert_eq!(
                follow(&from.parse().unwrap(), Some(location), 0, AddressPolicy::Public),
                want,
                "{location}"
            );
        }
        let from: Url = "https://h.example/".parse().unwrap();
        assert_eq!(
            follow(&from, Some("/x"), MAX_REDIRECTS, AddressPolicy::Public),
            Err(RedirectRefused::TooMany)
        );
        assert_eq!(follow(&from, None, 0, AddressPolicy::Public), Err(RedirectRefused::NoUrl));
        assert!(follow(&from, Some("https://10.0.0.1/"), 4, AddressPolicy::Anywhere).is_ok());
    }
}
