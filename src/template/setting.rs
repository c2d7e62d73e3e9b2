use url::Url;

use crate::image::Reference;

/// A value of a template that its user may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// Its value where none is given; empty leaves its line out.
    pub default: &'static str,
    /// What it is.
    pub about: &'static str,
    /// What it may be.
    pub form: Form,
}

/// What the value of a setting may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A DNS label.
    Name,
    /// A DNS label, or nothing.
    OptionalName,
    /// A reference of an image.
    Image,
    /// A size with a suffix.
    Size,
    /// A port.
    Port,
    /// A port, or nothing.
    OptionalPort,
    /// A port that a Service may have on nodes.
    NodePort,
    /// A number from 1.
    Count,
    /// An absolute path.
    AbsolutePath,
    /// A path below the root of a repository.
    RelativePath,
    /// The URL of a git repository.
    Repository,
    /// A branch of one.
    Branch,
    /// A DNS name with a dot.
    Host,
    /// Numbers with dots between them.
    Version,
    /// A bucket, and the beginning of its keys.
    Bucket,
    /// A URL without credentials.
    Url,
    /// A URL without credentials, or nothing.
    OptionalUrl,
}

impl Form {
    /// Returns what a value of this form is, with an example.
    pub fn expected(self) -> &'static str {
        match self {
            Self::Name | Self::OptionalName => "a name of lower-case letters, digits and `-`",
            Self::Image => "an image, such as registry.example/talmirror-cache:0.1.0",
            Self::Size => "a size, such as 90Gi",
            Self::Port | Self::OptionalPort => "a port from 1 to 65535",
            Self::NodePort => "a port from 30000 to 32767",
            Self::Count => "a number from 1 to 1000",
            Self::AbsolutePath => "an absolute path of letters, digits, `.`, `_` and `-`",
            Self::RelativePath => "a path below the repository's root, such as apps/talmirror-cache",
            Self::Repository => {
                "the URL of a git repository without a password, such as https://git.example/cluster or ssh://git@git.example/cluster"
            }
            Self::Branch => "the name of a branch, such as main",
            Self::Host => "a DNS name, such as harbor.example",
            Self::Version => "a version, such as 1.19.1",
            Self::Bucket => "a bucket, such as s3://images/talmirror",
            Self::Url | Self::OptionalUrl => "a URL without a password, such as https://rgw.example",
        }
    }

    /// Returns whether a value can stand in the template as it is.
    pub fn accepts(self, value: &str) -> bool {
        let made_of = |more: &str| {
            !value.is_empty() && value.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        let number = |from: u32, to: u32| {
            value.parse::<u32>().is_ok_and(|number| (from..=to).contains(&number)) && made_of("")
        };
        let steps = |path: &str| {
            path.split('/')
                .all(|part| !part.is_empty() && part != "." && part != ".." && !part.starts_with('-'))
        };
        match self {
            Self::Name => {
                made_of("-")
                    && value.len() <= 63
                    && !value.starts_with('-')
                    && !value.ends_with('-')
                    && !value.chars().any(|c| c.is_ascii_uppercase())
            }
            Self::OptionalName => value.is_empty() || Self::Name.accepts(value),
            // `made_of` keeps what YAML would read as something else away; the rest is what a reference is.
            Self::Image => made_of(".:/@_-") && value.parse::<Reference>().is_ok(),
            Self::Size => {
                ["Mi", "Gi", "Ti"].iter().filter_map(|unit| value.strip_suffix(unit)).any(|digits| {
                    digits.parse::<u32>().is_ok_and(|number| number > 0) && !digits.starts_with(['+', '0'])
                })
            }
            Self::Port => number(1, 65535),
            Self::OptionalPort => value.is_empty() || Self::Port.accepts(value),
            Self::NodePort => number(30000, 32767),
            Self::Count => number(1, 1000),
            Self::AbsolutePath => made_of("/._-") && value.strip_prefix('/').is_some_and(steps),
            Self::RelativePath => made_of("/._-") && steps(value),
            Self::Repository => {
                let url = Url::parse(value);
                made_of(":/@._-~")
                    && url.is_ok_and(|url| {
                        ["https", "http", "ssh"].contains(&url.scheme())
                            && url.has_host()
                            && url.password().is_none()
                    })
            }
            Self::Branch => made_of("/._-") && steps(value),
            Self::Bucket => {
                let name = value.strip_prefix("s3://").map(|rest| rest.split('/').next().unwrap_or_default());
                made_of(":/._-")
                    && name.is_some_and(|name| name.len() >= 3)
                    && value.strip_prefix("s3://").is_some_and(|path| steps(path) && !path.contains(':'))
            }
            Self::OptionalUrl => value.is_empty() || Self::Url.accepts(value),
            Self::Url => {
                let is_url = Url::parse(value).is_ok_and(|url| {
                    ["https", "http"].contains(&url.scheme()) && url.has_host() && url.username().is_empty()
                });
                made_of(":/._-[]") && is_url
            }
            Self::Host => value.contains('.') && value.split('.').all(|label| Self::Name.accepts(label)),
            Self::Version => {
                value.split('.').count() == 3
                    && value.split('.').all(|part| part.parse::<u32>().is_ok() && !part.starts_with('+'))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_template_as_it_is() {
        for (form, good, bad) in [
            (
                Form::Name,
                &["a", "a-1", "talmirror-cache"][..],
                &["", "-a", "a-", "A", "a.b", "a b", "a\nb"][..],
            ),
            (Form::OptionalName, &["", "fast"], &["a: b", "{}"]),
            (
                Form::Image,
                &[
                    "a/b",
                    "ghcr.io/a/b:1.2",
                    "h:5000/a@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                ],
                &["", "a b", "A/B:{}", "a\nb"],
            ),
            (Form::Size, &["1Gi", "90Gi", "512Mi"], &["", "0Gi", "Gi", "+1Gi", "90GiB", "1.5Gi", "90"]),
            (
                Form::Host,
                &["harbor.example", "h-1.lan.example"],
                &["", "h", "h.", "H.x", "h.x: y", "h.x/y", "h.x:1"],
            ),
            (Form::Version, &["1.19.1"], &["", "1", "1.19", "v1.19.1", "1.19.+1", "1.19.1 "]),
            (Form::Port, &["1", "5000", "65535"], &["", "0", "65536", "+1", "http"]),
            (Form::OptionalPort, &["", "7480"], &["0", "x"]),
            (Form::NodePort, &["30000", "32767"], &["5000", "32768"]),
            (Form::Count, &["1", "3"], &["0", "-1", "x"]),
            (Form::AbsolutePath, &["/var/lib/x", "/x"], &["", "/", "x", "/a/../b", "/a b", "/a//b"]),
            (Form::RelativePath, &["apps/x", "x"], &["", "/x", "../x", "a/./b", "a/"]),
            (
                Form::Repository,
                &["https://git.example/a/b", "ssh://git@git.example/a.git"],
                &["", "git.example/a", "file:///a", "https://a:b@git.example/c", "https://x y"],
            ),
            (
                Form::Bucket,
                &["s3://images", "s3://images/a-b/c"],
                &["", "images", "s3://ab", "s3://abc/a b", "s3://abc/../x", "s3://abc:x"],
            ),
            (
                Form::OptionalUrl,
                &["", "https://rgw.example:8443", "http://10.0.0.1"],
                &["rgw", "ftp://x", "https://a@x", "https://x y"],
            ),
            (Form::Url, &["https://releases.example/talmirror"], &["", "releases", "https://a@x"]),
            (Form::Branch, &["main", "release/1.2"], &["", "-f", "a b", "a/"]),
        ] {
            for value in good {
                assert!(form.accepts(value), "{form:?} takes {value:?}");
            }
            for value in bad {
                assert!(!form.accepts(value), "{form:?} refuses {value:?}");
            }
            assert!(!form.expected().is_empty());
        }
    }
}
